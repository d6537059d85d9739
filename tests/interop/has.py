"""Does the JSON object on standard input have these fields?  has.py FIELD=VALUE FIELD!=VALUE FIELD~REGEX 'FIELD<=N' ...

FIELD may have dots; VALUE is compared with a string as it is and with anything else in JSON. Nothing is printed when all hold.
"""
import json
import operator
import re
import sys

COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


def field(value, name):
    for part in name.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def holds(value, relation, wanted):
    if relation in COMPARE:
        return COMPARE[relation](float(value), float(wanted))
    text = value if isinstance(value, str) else json.dumps(value)
    if relation == "~":
        return re.search(wanted, text) is not None
    return (text == wanted) == (relation == "=")


def main():
    text = sys.stdin.read().strip()
    try:
        value = json.loads(text)
    except ValueError:
        print("not one JSON object: %r" % text)
        return 1
    for condition in sys.argv[1:]:
        name, relation, wanted = re.fullmatch(r"([\w.-]+)(!=|<=|>=|=|<|>|~)(.*)", condition, re.S).groups()
        try:
            good = holds(field(value, name), relation, wanted)
        except (KeyError, IndexError, TypeError, ValueError):
            good = False
        if not good:
            print("%s does not hold of %s" % (condition, text))
            return 1
    return 0


sys.exit(main())
