"""What docs/reliability.md promises: a line a row, with the tests that hold it.

A figure comes from a test that keeps one; the files here are where the other tests of a row are.
`lacking` says what is not promised, or was not tried.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One promise.

    Attributes:
        name: of the row, as tests keep figures for it.
        promise: in a few words.
        tests: files of tests, without `tests/test_` and `.py`.
        lacking: what is not promised or was not tried; empty where nothing is.
    """

    name: str
    promise: str
    tests: str
    lacking: str = ""


PARTS = {
    "A": "The store on disk",
    "B": "FAISS and search",
    "C": "Pictures",
    "D": "Files of weights and heads, and the network",
    "E": "Same input, same output",
    "F": "Statistics",
    "G": "Faces and privacy",
    "H": "The explorer, reports and addresses",
    "I": "Packages",
    "J": "Long and hostile runs",
}

ROWS = (
    Row(
        "A1",
        "What is committed survives any kill; a run taken up makes the same bytes",
        "kill forget outputs_cut_off",
        "`finetune` writes nothing before its end: a killed one begins anew; kept findings, cards "
        "and networks were stopped in the process, not killed with it",
    ),
    Row(
        "A2",
        "The same after a power cut, where fsync is obeyed",
        "power_loss",
        "simulated; no real power was cut",
    ),
    Row(
        "A3",
        "A failing disk is one line and status 3, and leaves the store whole",
        "faults store outputs_cut_off",
        "findings that cannot be kept in the store are passed over with a line, for the audit has "
        "its result; exports, which other libraries write, were failed by full disks only",
    ),
    Row(
        "A4",
        "A full disk never leaves a short file that looks whole",
        "full_disk store exports",
        "only exports had a real disk of each size; for the other commands pages were counted",
    ),
    Row(
        "A5",
        "Every change to a file of a store is found, and the file is named",
        "store mutations",
        "a head, finding or answer that is gone as a whole leaves no trace, for that is how one is "
        "taken away; cards beside heads, which people read and embedkit never does",
    ),
    Row(
        "A6",
        "A reader beside a writer sees one whole state",
        "readers_beside",
    ),
    Row(
        "A7",
        "A second writer is refused with the owner's process id; a dead owner's lock is free",
        "readers_beside",
        "network file systems were not tried",
    ),
    Row(
        "A8",
        "A newer store is called newer, an older one opens",
        "store indexes mutations golden",
        "one golden store, of the one schema that was released; its approximate index is of this "
        "version of FAISS",
    ),
    Row("A9", "Vectors of unlike networks never mix", "backbones pipeline merging heads precision"),
    Row(
        "A10",
        "Reading works without the right to write",
        "store cli read_only",
        "`evaluate` without --figures writes beside the head, `audit --views` into the store",
    ),
    Row(
        "A11",
        "Ctrl-C and SIGTERM lose nothing, and say how to go on",
        "cli interrupts kill finetune outputs_cut_off",
        "SIGTERM ends with status 130 like Ctrl-C; a second one during `finetune` drops what was "
        "trained",
    ),
    Row("A12", "A copy made with cp during a run opens whole or is refused", "readers_beside"),
    Row(
        "B1", "An index is a cache: damage is found, and it is made again", "index indexes pipeline"
    ),
    Row(
        "B2",
        "What was checked is what is read",
        "index indexes",
        "an index above 256 MiB is mapped: cut short while open it ends the process",
    ),
    Row(
        "B3",
        "Vectors that cannot be compared are refused by row",
        "index",
        "the row is named, not the file that it came from",
    ),
    Row("B4", "No number of FAISS's ever stands for a picture", "index"),
    Row("B5", "An answer does not depend on what else was asked", "index joins"),
    Row("B6", "A picture is not its own neighbour; its copies are", "index audits"),
    Row("B7", "Searching from many threads while a run commits", "readers_beside"),
    Row("B8", "Nothing forks after a library has started threads", "structure"),
    Row("B9", "Audits search exactly; an approximate index says what it finds", "indexes"),
    Row(
        "C1",
        "A picture that cannot be used is named with its reason; the run goes on",
        "bad_pictures images pipeline",
    ),
    Row(
        "C2",
        "A decoder that crashes or hangs costs its file",
        "images bad_pictures",
        "videos are decoded in the process itself: a crash of FFmpeg ends the command",
    ),
    Row("C3", "Formats are known by content, from a list", "images"),
    Row(
        "C4",
        "Bombs are refused before they are unpacked; memory is bounded",
        "images",
        "`--max-pixels` lowers the 64 million pixels and cannot raise them: audits, reports and "
        "the explorer read pictures again, and would need the limit too",
    ),
    Row(
        "C5",
        "Pixels are right in every mode and turn",
        "images golden",
        "colour profiles are not applied; decoders of JPEG, WebP, AVIF and JPEG 2000 may round "
        "otherwise in another version, which gives another hash of pixels",
    ),
    Row(
        "C6",
        "Pipes, links and devices are never waited on; a source that goes away costs no picture",
        "images load readers_folder no_plain_file",
        "network shares and FUSE were not tried; a folder of the same disk that is bound below the "
        "source and goes away: its pictures are called unreadable",
    ),
    Row(
        "C7",
        "Every file name is handled, and harmless where it is shown",
        "items load names reports exports",
        "exports for programs keep ids that begin like a formula; names in other encodings than "
        "UTF-8 and ASCII",
    ),
    Row(
        "C8",
        "Hash and pixels are of the same bytes; a file that changes is told",
        "pipeline bad_pictures",
        "a write in place that is still under way; hash and pixels agree all the same",
    ),
    Row("C9", "Other libraries' switches in Pillow change nothing", "images"),
    Row(
        "C10",
        "Changed, missing and new files are told",
        "pipeline explorer changes",
        "`info --changed` lists files; labels that changed in a table are taken over unlisted",
    ),
    Row(
        "D1",
        "Only whole weights that are the right ones are used",
        "weights",
        "some weights have no published checksum (`weights get` says which)",
    ),
    Row("D2", "No connection that nobody asked for", "offline precision"),
    Row(
        "D3",
        "Nothing that is opened can run code",
        "hostile_files trust structure",
        "TorchScript may take all time and memory; packages that you installed",
    ),
    Row(
        "D4",
        "Heads are numbers and JSON, checked and read back",
        "heads head_mutants",
        "a head that somebody made, with checksums that fit, says what they want",
    ),
    Row("D5", "A head refuses another store's vectors", "heads"),
    Row(
        "E1",
        "The same file has the same bits, whatever is in its batch",
        "backbones pipeline precision",
    ),
    Row(
        "E2",
        "Nearly the same on another machine",
        "precision parity",
        "one kind of machine: no figure across machines",
    ),
    Row("E3", "Frozen networks stay frozen", "backbones weights"),
    Row("E4", "Preprocessing is the libraries' own", "parity"),
    Row("E5", "The same seed gives the same map", "maps map_page"),
    Row(
        "E6",
        "The same store gives the same report",
        "reports audits",
        "other versions of NumPy and SciPy: coefficients of a head to 1e-5 of the largest; with "
        "the oldest packages the map and the figure of `shortcuts` differ; Python 3.14 not tried",
    ),
    Row("E7", "Index and head have the same bytes with one thread and two", "indexes heads large"),
    Row("F1", "Intervals hold the truth as often as they say", "statistics"),
    Row("F2", "Clusters, not images, are what is drawn again", "statistics ledger"),
    Row("F3", "Many groups raise no false alarm", "bias statistics shortcuts"),
    Row("F4", "A gap stands beside what chance makes", "bias"),
    Row("F5", "What copies are worth has an interval that holds it", "audits ledger"),
    Row("F6", "False pairs expected, and recall, are said", "twins selftest"),
    Row("F7", "Thresholds are set on other images than are reported", "heads twins"),
    Row("F8", "Folds keep relatives together", "crossval shortcuts"),
    Row("F9", "Calibration stands beside its own chance", "heads"),
    Row("F10", "No sentence says more than was measured", "bias"),
    Row(
        "G1",
        "Networks that know faces are never the default",
        "weights backbones",
        "no purpose is asked for",
    ),
    Row("G2", "Finding people outside the data set is no feature", "privacy"),
    Row(
        "G3",
        "What is forgotten is gone, and that is shown",
        "forget",
        "backups, exports, reports elsewhere; a photograph that was saved again; ids in the midst "
        "of a sentence are not found",
    ),
    Row("G4", "No picture's metadata leaves it", "reports explorer"),
    Row(
        "G5",
        "Reports name no user, host or folder of this machine",
        "reports notebook",
        "the command that made a report is in it; exports name files, as tools need",
    ),
    Row("G6", "Others on the machine cannot read a store", "privacy"),
    Row(
        "G7",
        "Cards say whose weights these are, and under which licence",
        "backbones model_cards weights",
        "of weights that no library's table names (open_clip's) only where their licence stands",
    ),
    Row("H1", "The explorer answers this machine only, with a token", "explorer"),
    Row("H2", "Host, origin and every write are checked", "explorer"),
    Row("H3", "No way leads out of the source", "explorer"),
    Row("H4", "No name or label becomes a script", "markup reports"),
    Row(
        "H5",
        "Addresses inside the network are refused, also after a redirect",
        "fetch",
        "URLs that you name to `embed` and `scan` (fsspec) may lead inside the network",
    ),
    Row("H6", "Size, time and redirects of a download are bounded", "fetch predict"),
    Row("H7", "A report loads nothing", "reports map_page"),
    Row("I1", "Everything is installed by hash", "packaging"),
    Row(
        "I2",
        "Versions with known holes are excluded",
        "packaging",
        "by the floors in pyproject.toml, which I4 installs; holes found since are I3",
    ),
    Row(
        "I3",
        "No known holes in what is locked",
        "",
        "not run: the database of holes cannot be reached from where this was made",
    ),
    Row(
        "I4",
        "It works with every Python and version that it names",
        "packaging extras",
        "Python 3.14 was not to be had; on the lowest versions and on 3.12 and 3.13 not every test",
    ),
    Row("I5", "The wheel holds two packages and is built to the same bytes", "packaging"),
    Row("I6", "Importing it opens nothing and asks nobody", "structure offline"),
    Row(
        "J1",
        "A worker that dies costs its block a second try",
        "ray",
        "docs/ray.md has the figures",
    ),
    Row(
        "J2",
        "Memory stays flat from 1,000 pictures to 10,000; time grows with their number",
        "pipeline reliability_load",
        "`embed` takes 5 KB a picture more (the vectors, for the index), `search` 11 KB; "
        "docs/performance.md and docs/load.md have the figures",
    ),
    Row(
        "J3",
        "Optimised Python, another language, warnings as errors, few open files, no home, nobody "
        "who listens, an old clock",
        "determinism surroundings cli",
        "the clock is set back inside Python only",
    ),
    Row("J4", "Ray makes the same bytes, and listens to this machine only", "ray"),
    Row("J5", "Days of `view`", "explorer", "24 hours were not run"),
    Row("J6", "Tests fail where the code is broken", "", "no mutation run of the code itself"),
)
