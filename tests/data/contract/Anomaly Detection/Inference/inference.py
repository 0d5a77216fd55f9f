"""An inference script for the original system's contract: it knows nothing of skyfan.

It is told by its environment which partition is its own, finds its code and its weights below /tmp, and leaves one
record at RESULT_PATH/RANK.json, as the workers of that system did.
"""

import io
import json
import os
import sys
import time

import boto3
import torch
from torch.utils.data import DataLoader

sys.path.append("/tmp/Anomaly Detection")
from blocks.network import Network  # noqa: E402

RANK = int(os.environ["RANK"])
WORLD_SIZE = int(os.environ["WORLD_SIZE"])
WEIGHTS = "/tmp/Anomaly Detection/Inference/weights.pt"


def main():
    store = boto3.client("s3")
    paths = os.environ["DATA_PATH"]
    paths = json.loads(paths) if paths.startswith("[") else [paths]
    model = Network()
    model.load_state_dict(torch.load(WEIGHTS))
    model.eval()
    started, rows, total = time.perf_counter(), 0, 0.0
    for path in paths:
        local = f"/tmp/{os.path.basename(path)}"
        store.download_file(os.environ["DATA_BUCKET"], path, local)
        data = torch.load(local, weights_only=False)
        for image, magnitude, _ in DataLoader(data, batch_size=int(os.environ["BATCH_SIZE"])):
            with torch.no_grad():
                total += float(model(image, magnitude).sum())
            rows += len(image)
        os.remove(local)
    with open("/tmp/mine.txt", "x") as file:  # "x": no other task may have been here
        file.write(f"{RANK} of {WORLD_SIZE}")
    record = {
        "total_cpu_time (seconds)": time.perf_counter() - started,
        "sample_persec": rows / (time.perf_counter() - started),
        "batch_size": int(os.environ["BATCH_SIZE"]),
        "device": "cpu",
        "result_path": os.environ["RESULT_PATH"],
        "data_path": os.environ["DATA_PATH"],
        "rank": RANK,
        "rows": rows,
        "sum": total,
        "others": sorted(os.listdir("/tmp")),
    }
    body = io.BytesIO(json.dumps(record).encode())
    store.put_object(Bucket=os.environ["S3_BUCKET"], Key=f"{os.environ['RESULT_PATH']}/{RANK}.json", Body=body)
    print(f"rank {RANK}: {rows} rows")


if __name__ == "__main__":
    main()
