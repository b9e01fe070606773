"""ensemble=snapshots: one run whose learning rate restarts, and a model from the end of each cycle.

Huang et al. 2017, Snapshot Ensembles: Train 1, get M for free. The plan is carried out to its end, and nothing is
chosen on val; of several phases the last one gives the snapshots.
"""

from collections.abc import Iterator

from transferkit.models.transfer_model import TransferModel
from transferkit.strategies.context import Context
from transferkit.strategies.phases import Phases, phase_folder, run_until
from transferkit.strategies.start_module import make_module
from transferkit.strategies.stops import all_stops
from transferkit.strategies.training_settings import plan_recipe
from transferkit.training.cycle_weights import read_snapshots
from transferkit.training.run_phase import SNAPSHOTS, check_recipe


def fit_snapshots(context: Context) -> tuple[Phases, Iterator[TransferModel]]:
    """Carry out a plan; return what is known of its course, and the models, each of which is changed into the next.

    Args:
        context: With a plan, a schedule with restarts, and `ensemble=snapshots`.

    Raises:
        TransferkitError: The run directory holds another training, or the loss is no longer finite.
    """
    plan = context.plan
    assert plan is not None, "config.ensemble_use asks for a strategy with phases"
    check_recipe(context.run_dir / "checkpoints", {**plan_recipe(context, plan), "ensemble": "snapshots"})
    module, _ = make_module(context, plan)
    phases = run_until(module, context, all_stops(plan)[-1])
    folder = phase_folder(context, len(plan.phases) - 1, plan.phases[-1]) / SNAPSHOTS

    def models() -> Iterator[TransferModel]:
        for state in read_snapshots(folder):
            module.load_state_dict(state, strict=False)
            yield module.model.requires_grad_(True).eval()

    return phases, models()
