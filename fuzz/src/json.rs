//! Changes of JSON texts: as text, or of their values.

use serde_json::{Value, json};

use crate::{mutate, random::Random};

/// Changes a JSON text as text, or one of its values for another.
pub(crate) fn change(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    if random.one_in(3) {
        return mutate::bytes(random, input, other);
    }
    let (Ok(mut json), theirs) = (
        serde_json::from_slice::<Value>(input),
        serde_json::from_slice::<Value>(other).unwrap_or_default(),
    ) else {
        return mutate::bytes(random, input, other);
    };
    for _ in 0..=random.below(3) {
        change_value(random, &mut json, &theirs);
    }
    *input = json.to_string().into_bytes();
}

fn change_value(random: &mut Random, json: &mut Value, other: &Value) {
    // Down to some value, then changed there.
    let deeper = !random.one_in(4);
    match json {
        Value::Object(members) if deeper && !members.is_empty() => {
            let at = random.below(members.len());
            let name = members.keys().nth(at).cloned().unwrap_or_default();
            match random.below(8) {
                0 => {
                    members.remove(&name);
                }
                1 => {
                    if let Some(value) = members.remove(&name) {
                        let names = ["", "Version", "AWS", "KeyId", "Sid", "${aws:x}", "*"];
                        let name = names[random.below(names.len())];
                        members.insert(name.to_owned(), value);
                    }
                }
                2 => {
                    if let Some((name, value)) = other
                        .as_object()
                        .and_then(|theirs| theirs.iter().nth(random.below(theirs.len())))
                    {
                        members.insert(name.clone(), value.clone());
                    }
                }
                _ => {
                    if let Some(value) = members.get_mut(&name) {
                        change_value(random, value, other);
                    }
                }
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(6) {
                0 => {
                    items.remove(at);
                }
                1 => {
                    let copy = items[at].clone();
                    items.push(copy);
                }
                _ => change_value(random, &mut items[at], other),
            }
        }
        Value::String(text) if random.one_in(2) => {
            let mut bytes = std::mem::take(text).into_bytes();
            mutate::bytes(random, &mut bytes, b"*?${aws:userid}:/arn:aws:kms");
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        _ => {
            *json = match random.below(10) {
                0 => Value::Null,
                1 => json!(true),
                2 => json!(-1),
                3 => json!(1e300),
                4 => json!(u64::MAX),
                5 => json!(""),
                6 => json!("*"),
                7 => json!([]),
                8 => json!([json.clone(), "x"]),
                _ => json!({"a": json.clone()}),
            };
        }
    }
}
