"""The groups under which `deepsynth --help` lists the verbs, in this order."""

from cyclopts import Group

BEGIN, MAKE_DATA, WORK, LOOK, PUBLISH, MANUSCRIPTS, LOOK_AFTER, MORE = (
    Group.create_ordered(name)
    for name in (
        "Begin and use",
        "Make data",
        "Work",
        "Look",
        "Publish",
        "Manuscripts",
        "Look after",
        "More",
    )
)
