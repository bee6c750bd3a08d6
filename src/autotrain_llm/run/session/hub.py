"""Upload a finished run to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from autotrain_llm.context.output_dir import TRAINED_ROWS
from autotrain_llm.planning.plan import HubPlan
from autotrain_llm.run.failures import RunFailed
from autotrain_llm.run.report.write import REPORT

# A page with rows of the data is for whoever trained, and not part of the model.
NOT_UPLOADED = ["checkpoints/*", ".*", "sweep/*", "logs/*", REPORT, TRAINED_ROWS]


def upload(folder: Path, hub: HubPlan, token: str | None) -> str:
    """Create the repository if it is missing and upload the finished model; return its URL. Raises RunFailed if the Hub refuses."""
    api = HfApi(token=token)
    try:
        owner = hub.username or api.whoami()["name"]
        name = f"{owner}/{folder.resolve().name}"
        api.create_repo(name, private=hub.private, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=folder, ignore_patterns=NOT_UPLOADED, commit_message="Upload a finished run"
        )
    except (HfHubHTTPError, HFValidationError, OSError) as fault:
        first = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise RunFailed(
            f"the model is complete in {folder}, but its upload failed: {first}",
            f"hf upload <account>/{folder.name} {folder}",
        ) from fault
    return f"https://huggingface.co/{name}"
