//! The device against QEMU's `nitro-enclave` machine, a second implementation:
//! 225 requests through a guest's /dev/nsm and their replies, in order.
//!
//! QEMU is an oracle for request parsing, PCR and lock arithmetic, not for
//! documents (it signs none). Where ground truth has stronger evidence the
//! device departs from it: `qemu_departures.json` lists each vector not
//! followed with its reason. A new departure fails the test, and so does a
//! listed one that is no longer needed.
//!
//! A departing vector's changes are not committed; where QEMU changed a
//! register at that point, `instead` is a request that does the same, so that
//! one departure does not look like forty.
//!
//! Normalised: order of map keys, random bytes, and of a document everything
//! but module id, digest, PCRs and the three request fields. QEMU's module id
//! and instance id are two independent options; ours derives one from the other
//! as hardware does, so QEMU's module id is read as ours.

use std::collections::BTreeMap;

use ciborium::Value;
use nsm_sim::{
    attestation::variance::Variance,
    clock::UnixMillis,
    device::{
        Measurements, NitroSecureModule, Profile, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Refusal,
    },
    seed::WorldSeed,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

const NOW: UnixMillis = UnixMillis(1_782_779_620_694);

/// The driver's errno for a request past 4096 bytes.
const EMSGSIZE: i64 = 90;

#[derive(Deserialize)]
struct Vectors {
    machine: Machine,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Machine {
    module_id: String,
    parent_role: String,
    parent_id: String,
}

#[derive(Deserialize)]
struct Vector {
    seq: u32,
    label: String,
    request: String,
    reply: Option<String>,
    ioctl_errno: i64,
    response_buffer_len: Option<usize>,
}

/// A vector that the device does not follow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Departure {
    seq: u32,
    label: String,
    /// What QEMU answers, in brief.
    qemu: String,
    /// What the device answers, in brief.
    ours: String,
    reason: String,
    /// A request that brings the bank to where QEMU's went.
    instead: Option<String>,
}

#[test]
fn follows_qemu_except_where_a_departure_is_listed_with_its_reason() {
    let Some(path) = crate::corpus::path("qemu/edge-cases.json") else {
        return;
    };
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let departures: Vec<Departure> =
        serde_json::from_str(include_str!("../qemu_departures.json")).unwrap();
    let departures: BTreeMap<u32, Departure> = departures
        .into_iter()
        .map(|departure| (departure.seq, departure))
        .collect();
    assert_eq!(vectors.vectors.len(), 225);
    assert_eq!(
        departures.len(),
        29,
        "the list of departures grew or shrank: is that meant?"
    );

    let mut module = boot(&vectors);
    let our_module_id = module.profile().module_id();
    let mut complaints = Vec::new();
    for vector in &vectors.vectors {
        let name = format!("{} {}", vector.seq, vector.label);
        let request = hex::decode(&vector.request).unwrap();
        let prepared = module.prepare(NOW, &request);
        // Beyond this length the driver answers, not the device.
        let (ours, ours_brief) = if request.len() > REQUEST_BYTES_MAX {
            let bytes = request.len();
            assert_eq!(
                prepared.refusal(),
                Some(&Refusal::RequestTooLarge { bytes }),
                "{name}"
            );
            (json!({ "errno": EMSGSIZE }), "EMSGSIZE".to_owned())
        } else {
            assert!(prepared.reply().len() <= RESPONSE_BYTES_MAX, "{name}");
            outcome(prepared.reply(), vector.response_buffer_len)
        };
        let (theirs, theirs_brief) = match &vector.reply {
            None => (
                json!({ "errno": vector.ioctl_errno }),
                "EMSGSIZE".to_owned(),
            ),
            Some(reply) => outcome(&hex::decode(reply).unwrap(), vector.response_buffer_len),
        };
        let theirs = renamed(theirs, &vectors.machine.module_id, &our_module_id);

        match departures.get(&vector.seq) {
            None if ours == theirs => module.commit(prepared),
            None => complaints.push(format!(
                "{name}: QEMU answers {theirs_brief}, the device {ours_brief}, \
                 and no departure says why"
            )),
            Some(_) if ours == theirs => {
                complaints.push(format!(
                    "{name}: listed as a departure, but QEMU and the device agree"
                ));
                module.commit(prepared);
            }
            Some(departure) => {
                let listed = (&departure.label, &departure.qemu, &departure.ours);
                if listed != (&vector.label, &theirs_brief, &ours_brief) {
                    complaints.push(format!(
                        "{name}: listed as {listed:?}, is {theirs_brief:?} and {ours_brief:?}"
                    ));
                }
                assert!(
                    departure.reason.len() > 20,
                    "{name}: a reason is a sentence"
                );
                drop(prepared);
                if let Some(instead) = &departure.instead {
                    let prepared = module.prepare(NOW, &hex::decode(instead).unwrap());
                    assert_eq!(prepared.refusal(), None, "{name}: `instead` must succeed");
                    module.commit(prepared);
                }
            }
        }
    }
    let known: Vec<u32> = vectors.vectors.iter().map(|vector| vector.seq).collect();
    for seq in departures.keys().filter(|seq| !known.contains(seq)) {
        complaints.push(format!("departure {seq} names no vector"));
    }
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// An NSM measured as QEMU's guest was: image registers as its first replies
/// give them, role and instance as its machine options.
fn boot(vectors: &Vectors) -> NitroSecureModule {
    let pcr = |index: u16| -> [u8; 48] {
        let label = format!("describe-pcr-{index}-fresh");
        let vector = vectors
            .vectors
            .iter()
            .find(|vector| vector.label == label)
            .unwrap();
        let (reply, _) = outcome(&hex::decode(vector.reply.as_ref().unwrap()).unwrap(), None);
        let value = reply["DescribePCR"]["data"].as_str().unwrap();
        hex::decode(value).unwrap().try_into().unwrap()
    };
    let enclave = vectors.machine.module_id.split_once("-enc").unwrap().1;
    let enclave = u64::from_str_radix(enclave, 16).unwrap();
    let profile = Profile {
        measurements: Measurements {
            pcr0: pcr(0),
            pcr1: pcr(1),
            pcr2: pcr(2),
            pcr8: Some(pcr(8)),
        },
        role_arn: Some(vectors.machine.parent_role.clone()),
        instance_id: vectors.machine.parent_id.clone(),
        region: "us-east-1".to_owned(),
        debug: false,
        created: UnixMillis(enclave >> 16),
        enclave_nonce: (enclave & 0xffff) as u16,
    };
    NitroSecureModule::new(profile, &WorldSeed::from_u64(1), Variance::default())
}

/// A reply without what may differ, and its gist.
fn outcome(reply: &[u8], buffer_len: Option<usize>) -> (Json, String) {
    if let Some(len) = buffer_len {
        // The driver copies what fits: compare what is not random of it.
        let copied = &reply[..len.min(reply.len())];
        let head = &copied[..copied.len().min(22)];
        let outcome = json!({ "copied": copied.len(), "head": hex::encode(head) });
        return (outcome, "truncated".to_owned());
    }
    let value: Value = ciborium::from_reader(reply).unwrap();
    let json = to_json(&value);
    if let Some(error) = json["Error"].as_str() {
        let brief = error.to_owned();
        return (json, brief);
    }
    if let Some(document) = json["Attestation"]["document"].as_str() {
        let content = document_content(&hex::decode(document).unwrap());
        let fields: Vec<String> = ["public_key", "user_data", "nonce"]
            .iter()
            .filter_map(|name| {
                let value = content[*name].as_str()?;
                Some(format!(" {name}={}", &value[..value.len().min(16)]))
            })
            .collect();
        return (
            json!({ "Attestation": content }),
            format!("document{}", fields.concat()),
        );
    }
    if let Some(random) = json["GetRandom"]["random"].as_str() {
        return (
            json!({ "GetRandom": random.len() / 2 }),
            "GetRandom".to_owned(),
        );
    }
    if let Some(value) = json["ExtendPCR"]["data"]
        .as_str()
        .or(json["DescribePCR"]["data"].as_str())
    {
        let brief = format!("PCR {}…", &value[..8]);
        return (json, brief);
    }
    let brief = json
        .as_str()
        .or_else(|| Some(json.as_object()?.keys().next()?.as_str()));
    let brief = brief.unwrap_or("?").to_owned();
    (json, brief)
}

fn document_content(document: &[u8]) -> Json {
    let cose: Value = ciborium::from_reader(document).unwrap();
    let payload = cose.as_array().unwrap()[2].as_bytes().unwrap();
    let mut payload = to_json(&ciborium::from_reader(payload.as_slice()).unwrap());
    for name in ["timestamp", "certificate", "cabundle"] {
        payload.as_object_mut().unwrap().remove(name).unwrap();
    }
    payload
}

/// CBOR as JSON with sorted keys; byte strings as hex.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Integer(n) => json!(i128::from(*n) as i64),
        Value::Bytes(bytes) => json!(hex::encode(bytes)),
        Value::Text(text) => json!(text),
        Value::Bool(bool) => json!(bool),
        Value::Null => Json::Null,
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| {
                let key = key
                    .as_text()
                    .map_or_else(|| to_json(key).to_string(), str::to_owned);
                (key, to_json(value))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => panic!("no reply holds {other:?}"),
    }
}

fn renamed(outcome: Json, from: &str, to: &str) -> Json {
    serde_json::from_str(&outcome.to_string().replace(from, to)).unwrap()
}
