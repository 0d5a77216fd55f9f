"""The words of the report, for whoever has never seen skyfan."""

TERMS = (
    ("Survey", "The images and magnitudes of many galaxies that a model is to be run over."),
    (
        "Partition",
        "One file of a survey: some rows of it, each with an image, magnitudes, and perhaps an id and a position.",
    ),
    ("Row", "One galaxy: a line in a partition, and a line in the catalogue."),
    ("Model", "A trained network in one ONNX file. Its hash, sha256, tells whether two models are the same."),
    (
        "Script",
        (
            "A user's own Python program, that each task runs in place of a model. It may leave a result, a JSON file; "
            "what it prints is its log. What else it does only it knows."
        ),
    ),
    ("Payload", "What was asked for, as a JSON object: which partitions, which model or script, where to."),
    ("Run", "One execution of a payload, known by its bucket and result path."),
    ("Manifest", "The plan of a run: every task, and what it reads."),
    (
        "Task",
        "One unit of the map: it reads one or more partitions and writes one part of the catalogue, or runs a script.",
    ),
    ("Worker", "A process, or a Lambda function on AWS, that does one task after the other."),
    ("Map", "The middle of a run, in which all tasks are done, many at once."),
    ("Part", "One Parquet file of predictions, written by one task; all parts together are the catalogue."),
    (
        "Report",
        "What one task says of itself: rows, seconds, memory, hashes. It is written after its part and commits it.",
    ),
    ("Drive", "One attempt to bring a run to its end. A run that is resumed has more than one."),
    (
        "Complete",
        (
            "Every task has a valid report and its part, as many rows came out as went in, and nothing is surplus. "
            "With a script: every task's ended well, and the results that they left are there."
        ),
    ),
    ("Wall clock", "Time as it passes for whoever waits, as opposed to seconds of work added up over workers."),
    (
        "Cold and warm",
        "A worker is cold at its first task, when it still has to start and load the model; then it is warm.",
    ),
    ("z_phot, z_spec", "The redshift that the model predicts from an image, and the true one, from a spectrum."),
    ("dz", "(z_phot - z_spec) / (1 + z_spec): the error of a redshift."),
    ("sigma_NMAD", "1.4826 median|dz - median(dz)|: the width of the errors, that outliers do not change."),
    ("Outliers", "Galaxies with |dz| above 0.05 or 0.15."),
    (
        "PDF, PIT",
        "The probability of each redshift, and the share of it below the true one, which good PDFs spread evenly.",
    ),
    (
        "anomaly_score",
        "How unusual an image is: of galaxies like those that the model was trained on, one in 10^score is so or more.",
    ),
    ("Flags", "What is to be known of a row, such as a dead band or an input that is out of the model's range."),
    ("GB-second", "What AWS bills of Lambda: memory configured, in GB, times seconds, be it used or not."),
    ("MiB", "1,048,576 bytes. 25MB in the name of partitions means 25 MiB too."),
)
