"""A fitted model in the formats of other programs: ONNX, torch.export, OpenVINO, plain weights, a Hugging Face folder.

May import: everything but `cli`.
"""
