"""Alerts against the JSON Schema of OCSF Detection Finding 1.8.0, and what JSON Schema cannot say. See validate.sh."""

import json
import re
import sys

from jsonschema import Draft202012Validator, validators

POSITION = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/\d+/\d+@\d+")
LARGEST = 256 * 1024


def is_whole(_checker, value):
    """In JSON Schema 3.0 is an integer; to a SIEM's typed column it is not."""
    return type(value) is int


def once(pairs):
    """An object whose names differ: readers disagree about which of two values counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def no_number(text):
    raise ValueError(f"{text} is no JSON")


def resolve(schema, rule):
    """The rule that an attribute follows: behind references and array items."""
    while isinstance(rule, dict):
        if "$ref" in rule:
            rule = schema["$defs"][rule["$ref"].split("/")[-1]]
        elif "items" in rule:
            rule = rule["items"]
        else:
            return rule
    return {}


def captions(schema, rule, value, path):
    """Texts beside the numbers of enums must be the captions of these numbers."""
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from captions(schema, rule, item, f"{path}[{place}]")
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        known = resolve(schema, rule.get("properties", {}).get(name, {}))
        yield from captions(schema, known, inner, f"{path}.{name}")
        beside = known.get("x-sibling")
        if beside in value and inner in known.get("enum", []) and inner != 99:
            wanted = known["x-captions"][known["enum"].index(inner)]
            if value[beside] != wanted:
                yield f"{path}.{beside}", f"is {value[beside]!r}; beside {name} {inner} it must be {wanted!r}"


def at_path(alert, path):
    """What a path such as evidences[0].user.name leads to."""
    for name, place in re.findall(r"([A-Za-z_0-9]+)(?:\[(\d+)\])?", path):
        alert = alert[name][int(place)] if place else alert[name]
    return alert


def own_rules(alert):
    """What authseal promises beyond OCSF."""
    for observable in alert.get("observables", []):
        try:
            if at_path(alert, observable["name"]) != observable["value"]:
                yield "$.observables", f"{observable['name']} holds another value than {observable['value']!r}"
        except (KeyError, IndexError, TypeError):
            yield "$.observables", f"{observable.get('name')!r} leads nowhere"
    if not re.fullmatch(r"[A-Za-z0-9_-]+:[0-9a-f]{32}", alert["finding_info"]["uid"]):
        yield "$.finding_info.uid", "is no rule id and 32 hexadecimal digits"
    for evidence in alert.get("evidences", [{}]):
        data = evidence.get("data", {})
        if "since" in data and "position" not in data:
            continue  # a source that is silent, and was not heard by this process: there is no record to name
        for position in [data.get("position", ""), *data.get("positions", [""])]:
            if not POSITION.fullmatch(position):
                yield "$.evidences.data", f"{position!r} is no position"


def problems(validator, schema, line):
    if len(line.encode()) > LARGEST:
        yield "$", f"has {len(line.encode())} bytes, more than {LARGEST}"
    try:
        alert = json.loads(line, object_pairs_hook=once, parse_constant=no_number)
    except ValueError as error:
        yield "$", str(error)
        return
    found = [(error.json_path, error.message[:300]) for error in validator.iter_errors(alert)]
    yield from found
    if not found:  # the rest takes the form for granted
        yield from captions(schema, schema, alert, "$")
        yield from own_rules(alert)


def main():
    schema_path, alerts_path = sys.argv[1:]
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole)
    validator = validators.extend(Draft202012Validator, type_checker=types)(schema)
    total = invalid = 0
    with open(alerts_path, encoding="utf-8") as alerts:
        for number, line in enumerate(alerts, 1):
            if not line.strip():
                continue
            total += 1
            found = list(problems(validator, schema, line.rstrip("\n")))
            invalid += bool(found)
            for path, message in found:
                print(f"{alerts_path}:{number}: {path}: {message}")
    print(f"{total} alerts, {invalid} invalid")
    return 0 if total and not invalid else 1


if __name__ == "__main__":
    sys.exit(main())
