//! The requests that matter: for each condition key that counts for a caller and
//! an action, one value of every kind that the conditions can tell apart.
//!
//! Values are proposed by the key's domain (a register is 96 hex digits, a
//! pending window 7 to 30 days, a string anything) and told apart by the
//! evaluator itself: two values that satisfy the same conditions are one. Keys
//! vary independently of each other, which is why a policy variable that ties
//! two of them together is beyond this method.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
};

use nsm_sim::clock::UnixMillis;

use super::{
    Undecided,
    asked::Asked,
    words::{self, Pattern, Symbol, literal, words},
};
use crate::policy::{
    GRANT_OPERATIONS, Policy, Question, Recipient,
    condition::{Condition, Network, Test, parse_date, parse_number},
    document::{Naming, Statement},
    request::ConditionKey,
    template::Case,
};

const CONTEXTS_MAX: usize = 20_000;
/// Kinds of members of a set, each in or out.
const SET_KINDS_MAX: usize = 8;

/// What the caller shows of an enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Unattested,
    Debug,
    OtherImage,
    NitroTpm,
}

/// One way to fill in a part of a question.
pub(super) type Choice = Rc<dyn Fn(&mut Question)>;

/// A condition with where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Atom<'a> {
    pub(super) condition: &'a Condition,
    pub(super) in_key_policy: bool,
}

/// What else the values depend on.
#[derive(Debug)]
pub(super) struct Bounds<'a> {
    pub(super) asked: &'a Asked,
    pub(super) state: State,
    /// PCR0 values that are as wanted.
    pub(super) expected: &'a BTreeSet<String>,
    /// NitroTPM registers that are as wanted.
    pub(super) nitrotpm: &'a BTreeMap<u8, BTreeSet<String>>,
    /// ARNs that a retiring principal may have.
    pub(super) principals: &'a [String],
    /// Whether the Region is known.
    pub(super) region_known: bool,
    /// The operation that a grant must have.
    pub(super) granted: Option<&'static str>,
}

/// The statements that can count for the question, whatever its facts are.
pub(super) fn relevant<'a>(
    question: &'a Question,
    key_policy: &'a Policy,
) -> Vec<(&'a Statement, bool)> {
    let covers = |statement: &Statement| {
        statement.resources.is_some()
            && statement
                .actions
                .as_ref()
                .is_some_and(|actions| actions.cover_action(&question.action))
    };
    let has_boundary = question.boundary.is_some();
    let named =
        |statement: &Statement| statement.names(&question.principal, has_boundary) != Naming::No;
    let own = key_policy.statements().iter().map(|s| (s, true));
    let is_root = question.principal.acts_for_root();
    let theirs = question
        .identity_policies
        .iter()
        .chain(&question.boundary)
        .filter(|_| !is_root)
        .flat_map(|policy| policy.statements())
        .map(|s| (s, false));
    own.chain(theirs)
        .filter(|(statement, _)| covers(statement) && named(statement))
        .collect()
}

/// Every list of choices holds each kind of value of one key once.
pub(super) fn choices(
    base: &Question,
    atoms: &[Atom<'_>],
    bounds: &Bounds<'_>,
) -> Result<Vec<Vec<Choice>>, Undecided> {
    let mut groups: BTreeMap<Part, Vec<Atom<'_>>> = BTreeMap::new();
    for atom in atoms {
        if let Some(part) = Part::of(atom.condition.key()) {
            groups.entry(part).or_default().push(*atom);
        }
    }
    let mut out = Vec::new();
    for (part, atoms) in groups {
        let proposed = part.propose(base, &atoms, bounds)?;
        let kept = told_apart(base, &atoms, proposed);
        if !kept.is_empty() {
            out.push(kept);
        }
    }
    Ok(out)
}

/// Keeps the first of all choices that satisfy the same conditions.
fn told_apart(base: &Question, atoms: &[Atom<'_>], proposed: Vec<Choice>) -> Vec<Choice> {
    let mut seen = BTreeSet::new();
    proposed
        .into_iter()
        .filter(|choice| {
            let mut question = base.clone();
            choice(&mut question);
            seen.insert(signature(&question, atoms))
        })
        .collect()
}

fn signature(question: &Question, atoms: &[Atom<'_>]) -> Vec<bool> {
    question.with_request(|request| {
        atoms
            .iter()
            .map(|atom| {
                let trace = atom.condition.evaluate(request, atom.in_key_policy);
                trace.satisfied
            })
            .collect()
    })
}

/// A part of a question that varies on its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Register(u8),
    NitroTpmRegister(u8),
    Context,
    ResourceTag(String),
    PrincipalTag(String),
    RequestTags,
    Named(String),
}

impl Part {
    /// `None` for what the caller and the key already tell.
    fn of(key: &ConditionKey) -> Option<Self> {
        Some(match key {
            ConditionKey::ImageSha384 => Self::Register(0),
            ConditionKey::Pcr(index) => Self::Register(*index),
            ConditionKey::NitroTpmPcr(index) => Self::NitroTpmRegister(*index),
            ConditionKey::EncryptionContext(_) | ConditionKey::EncryptionContextKeys => {
                Self::Context
            }
            ConditionKey::ResourceTag(name) => Self::ResourceTag(name.clone()),
            ConditionKey::PrincipalTag(name) => Self::PrincipalTag(name.clone()),
            ConditionKey::RequestTag(_) => Self::RequestTags,
            ConditionKey::Named(name) if is_settled(name) => return None,
            ConditionKey::Named(name) => Self::Named(match name.as_str() {
                "aws:epochtime" => "aws:currenttime".to_owned(),
                "kms:customermasterkeyspec" => "kms:keyspec".to_owned(),
                "kms:customermasterkeyusage" => "kms:keyusage".to_owned(),
                "kms:multiregion" => "kms:multiregionkeytype".to_owned(),
                "aws:tagkeys" => return Some(Self::RequestTags),
                _ => name.clone(),
            }),
        })
    }

    fn propose(
        &self,
        base: &Question,
        atoms: &[Atom<'_>],
        bounds: &Bounds<'_>,
    ) -> Result<Vec<Choice>, Undecided> {
        let asked = bounds.asked;
        match self {
            Self::Register(index) => match bounds.state {
                State::Unattested | State::NitroTpm => Ok(Vec::new()),
                State::Debug if *index < 3 => Ok(Vec::new()),
                State::Debug | State::OtherImage => register(base, *index, atoms, bounds),
            },
            Self::NitroTpmRegister(index) => match bounds.state {
                State::NitroTpm => register(base, *index, atoms, bounds),
                _ => Ok(Vec::new()),
            },
            Self::Context if asked.has_context => contexts(base, atoms),
            Self::Context => Ok(Vec::new()),
            Self::ResourceTag(name) => {
                let values = texts(base, atoms, &vec![Symbol::Any])?;
                let name = name.clone();
                Ok(optional(values, move |question, value| {
                    match value {
                        Some(value) => question.key.tags.insert(name.clone(), value),
                        None => question.key.tags.remove(&name),
                    };
                }))
            }
            Self::PrincipalTag(name) => {
                let values = texts(base, atoms, &vec![Symbol::Any])?;
                let name = name.clone();
                Ok(optional(values, move |question, value| {
                    let tags = &mut question.facts.principal_tags;
                    match value {
                        Some(value) => tags.insert(name.clone(), value),
                        None => tags.remove(&name),
                    };
                }))
            }
            Self::RequestTags if asked.action == "kms:ReplicateKey" => Err(Undecided::Beyond {
                what: "conditions on the tags of a new replica".to_owned(),
            }),
            Self::RequestTags => Ok(Vec::new()),
            Self::Named(name) => named(name, base, atoms, bounds),
        }
    }
}

/// Keys whose values the caller's identity decides.
pub(super) fn is_settled(name: &str) -> bool {
    matches!(
        name,
        "kms:calleraccount"
            | "aws:principalarn"
            | "aws:principalaccount"
            | "aws:principaltype"
            | "aws:principalisawsservice"
            | "aws:username"
            | "aws:resourceaccount"
    )
}

fn each<T: Clone + 'static>(
    values: impl IntoIterator<Item = T>,
    set: impl Fn(&mut Question, T) + Clone + 'static,
) -> Vec<Choice> {
    values
        .into_iter()
        .map(|value| {
            let set = set.clone();
            Rc::new(move |question: &mut Question| set(question, value.clone())) as Choice
        })
        .collect()
}

/// Absent first, so that a witness has no more than it needs.
fn optional<T: Clone + 'static>(
    values: Vec<T>,
    set: impl Fn(&mut Question, Option<T>) + Clone + 'static,
) -> Vec<Choice> {
    each(
        std::iter::once(None).chain(values.into_iter().map(Some)),
        set,
    )
}

fn named(
    name: &str,
    base: &Question,
    atoms: &[Atom<'_>],
    bounds: &Bounds<'_>,
) -> Result<Vec<Choice>, Undecided> {
    let asked = bounds.asked;
    let action = asked.action;
    let list = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
    let is_grant = action == "kms:CreateGrant";
    let none = || Ok(Vec::new());
    Ok(match name {
        "kms:encryptionalgorithm" if asked.has_context => {
            let algorithms: &[&str] = if action.contains("Generate") {
                &["SYMMETRIC_DEFAULT"]
            } else {
                &[
                    "SYMMETRIC_DEFAULT",
                    "RSAES_OAEP_SHA_256",
                    "RSAES_OAEP_SHA_1",
                    "SM2PKE",
                ]
            };
            each(list(algorithms), |q, v| {
                q.facts.encryption_algorithm = Some(v)
            })
        }
        "kms:signingalgorithm" if action == "kms:Sign" => each(
            list(&[
                "ECDSA_SHA_256",
                "ECDSA_SHA_384",
                "ECDSA_SHA_512",
                "RSASSA_PSS_SHA_256",
                "RSASSA_PSS_SHA_384",
                "RSASSA_PSS_SHA_512",
                "RSASSA_PKCS1_V1_5_SHA_256",
                "RSASSA_PKCS1_V1_5_SHA_384",
                "RSASSA_PKCS1_V1_5_SHA_512",
                "SM2DSA",
                "ML_DSA_SHAKE_256",
                "ED25519_SHA_512",
                "ED25519_PH_SHA_512",
            ]),
            |q, v| q.facts.signing_algorithm = Some(v),
        ),
        "kms:messagetype" if action == "kms:Sign" => {
            each(list(&["RAW", "DIGEST", "EXTERNAL_MU"]), |q, v| {
                q.facts.message_type = Some(v)
            })
        }
        "kms:macalgorithm" if action == "kms:GenerateMac" => each(
            list(&[
                "HMAC_SHA_256",
                "HMAC_SHA_224",
                "HMAC_SHA_384",
                "HMAC_SHA_512",
            ]),
            |q, v| q.facts.mac_algorithm = Some(v),
        ),
        "kms:datakeypairspec" if action.contains("DataKeyPair") => each(
            list(&[
                "RSA_2048",
                "RSA_3072",
                "RSA_4096",
                "ECC_NIST_P256",
                "ECC_NIST_P384",
                "ECC_NIST_P521",
                "ECC_SECG_P256K1",
                "SM2",
                "ECC_NIST_EDWARDS25519",
            ]),
            |q, v| q.facts.data_key_pair_spec = Some(v),
        ),
        "kms:replicaregion" if action == "kms:ReplicateKey" => {
            let region = vec![Symbol::Of(REGION), Symbol::SomeOf(REGION)];
            each(texts(base, atoms, &region)?, |q, v| {
                q.facts.replica_region = Some(v)
            })
        }
        "kms:requestalias" if asked.takes_alias => {
            let values = texts(base, atoms, &alias_shape())?;
            optional(values, |q, v| q.facts.request_alias = v)
        }
        "kms:resourcealiases" => {
            let words = texts(base, atoms, &alias_shape())?;
            let kinds = kinds_of_members(base, atoms, words, None, |q, names| {
                q.key.aliases = names.to_vec();
            })?;
            each(kinds, |q, names| q.key.aliases = names)
        }
        "kms:grantoperations" if is_grant => {
            let all = list(&GRANT_OPERATIONS);
            let set = |q: &mut Question, names: &[String]| {
                q.facts.grant_operations = Some(names.to_vec());
            };
            let kinds = kinds_of_members(base, atoms, all, bounds.granted, set)?;
            each(kinds, move |q, names| set(q, &names))
        }
        "kms:grantconstrainttype" if is_grant => optional(
            list(&["EncryptionContextSubset", "EncryptionContextEquals"]),
            |q, v| q.facts.grant_constraint_type = v,
        ),
        "kms:retiringprincipal" if is_grant => optional(bounds.principals.to_vec(), |q, v| {
            q.facts.retiring_principal = v
        }),
        "kms:grantisforawsresource" if is_grant => each([false, true], |q, v| {
            q.facts.grant_is_for_aws_resource = Some(v)
        }),
        "kms:reencryptonsamekey" if action.contains("ReEncrypt") => each([false, true], |q, v| {
            q.facts.re_encrypt_on_same_key = Some(v)
        }),
        "kms:bypasspolicylockoutsafetycheck" if action == "kms:PutKeyPolicy" => {
            each([false, true], |q, v| {
                q.facts.bypass_policy_lockout_safety_check = Some(v)
            })
        }
        "kms:schedulekeydeletionpendingwindowindays" if action == "kms:ScheduleKeyDeletion" => {
            each(7..=30u32, |q, v| {
                q.facts.schedule_key_deletion_pending_window_in_days = Some(v);
            })
        }
        "kms:keyspec" => each(list(asked.specs), |q, v| q.key.spec = v),
        "kms:keyusage" => each(list(asked.usages), |q, v| q.key.usage = v),
        "kms:keyorigin" => each(
            list(&["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"]),
            |q, v| q.key.origin = v,
        ),
        "kms:multiregionkeytype" => optional(list(&["PRIMARY", "REPLICA"]), |q, v| {
            q.key.multi_region_type = v
        }),
        "kms:policyname" | "kms:keyagreementalgorithm" => return none(),
        "aws:currenttime" => each(instants(base, atoms)?, |q, v| q.now = v),
        "aws:sourceip" => optional(addresses(base, atoms)?, |q, v| q.facts.source_ip = v),
        "aws:securetransport" => each([true, false], |q, v| q.facts.secure_transport = Some(v)),
        "aws:useragent" => {
            let values = texts(base, atoms, &vec![Symbol::Any])?;
            optional(values, |q, v| q.facts.user_agent = v)
        }
        "aws:requestedregion" if bounds.region_known => return none(),
        "aws:requestedregion" => {
            let region = vec![Symbol::Of(REGION), Symbol::SomeOf(REGION)];
            let usual = base.facts.requested_region.clone().into_iter();
            let values = usual.chain(texts(base, atoms, &region)?);
            each(values, |q, v| q.facts.requested_region = Some(v))
        }
        // What only AWS can present: a service calling for the caller, the VPC
        // endpoint, the organization, ….
        other if other.starts_with("aws:") || other == "kms:viaservice" => {
            let values = texts(base, atoms, &vec![Symbol::Any])?;
            let other = other.to_owned();
            optional(values, move |q, v| {
                match v {
                    Some(v) => q.facts.condition_keys.insert(other.clone(), v),
                    None => q.facts.condition_keys.remove(&other),
                };
            })
        }
        // No such key, or none that this action has.
        _ => return none(),
    })
}

const REGION: &str = "abcdefghijklmnopqrstuvwxyz0123456789-";
const ALIAS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-:";

fn alias_shape() -> Pattern {
    let mut shape = literal("alias/");
    shape.extend([Symbol::Of(ALIAS), Symbol::SomeOf(ALIAS)]);
    shape
}

/// The patterns that a condition holds its key against.
pub(super) fn patterns(condition: &Condition, base: &Question) -> Result<Vec<Pattern>, Undecided> {
    let test = condition.operator().test();
    let mut out = Vec::new();
    for operand in condition.operands() {
        for name in operand.variables() {
            must_be_settled(name)?;
        }
        let found = base.with_request(|request| {
            let variables = |name: &str| request.variable(name, true);
            match test {
                Test::Text(case) => operand.plain(&variables).map(|text| match case {
                    Case::Sensitive => literal(&text),
                    Case::Insensitive => words::caseless(&text),
                }),
                Test::Pattern => operand.characters(&variables).map(|c| words::glob(&c)),
                Test::Arn => operand.plain(&variables).and_then(|text| words::arn(&text)),
                _ => None,
            }
        });
        out.extend(found);
    }
    Ok(out)
}

pub(super) fn must_be_settled(variable: &str) -> Result<(), Undecided> {
    if is_settled(&variable.to_lowercase()) {
        return Ok(());
    }
    Err(Undecided::Beyond {
        what: format!(
            "the policy variable ${{{variable}}}, which ties two condition keys together"
        ),
    })
}

/// The texts that a policy gives as values, without variables' meaning.
fn operands(atoms: &[Atom<'_>], base: &Question) -> Result<Vec<String>, Undecided> {
    let mut out = Vec::new();
    for operand in atoms.iter().flat_map(|atom| atom.condition.operands()) {
        for name in operand.variables() {
            must_be_settled(name)?;
        }
        let plain = base.with_request(|request| {
            let variables = |name: &str| request.variable(name, true);
            operand.plain(&variables).map(std::borrow::Cow::into_owned)
        });
        out.extend(plain);
    }
    Ok(out)
}

/// How a key is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Text,
    Number,
    Date,
    Bool,
    Binary,
    Address,
}

fn looks(atoms: &[Atom<'_>]) -> Vec<Look> {
    let mut looks = Vec::new();
    for atom in atoms {
        let look = match atom.condition.operator().test() {
            Test::Text(_) | Test::Pattern | Test::Arn => Look::Text,
            Test::Number(_) => Look::Number,
            Test::Date(_) => Look::Date,
            Test::Bool => Look::Bool,
            Test::Binary => Look::Binary,
            Test::Address => Look::Address,
            Test::Null => continue,
        };
        if !looks.contains(&look) {
            looks.push(look);
        }
    }
    looks
}

fn mixed(atoms: &[Atom<'_>]) -> Undecided {
    let key = atoms.first().map_or("", |atom| atom.condition.key_text());
    Undecided::Beyond {
        what: format!("{key} under operators of different types"),
    }
}

/// One string of the form `shape` for every combination of conditions.
fn texts(base: &Question, atoms: &[Atom<'_>], shape: &Pattern) -> Result<Vec<String>, Undecided> {
    match looks(atoms).as_slice() {
        [] | [Look::Text] => {
            let mut all = Vec::new();
            for atom in atoms {
                all.extend(patterns(atom.condition, base)?);
            }
            words(&all, shape, 1)
        }
        [Look::Bool] => Ok(["true", "false", "x"].map(str::to_owned).to_vec()),
        [Look::Binary] => {
            let mut values = operands(atoms, base)?;
            values.extend(["".to_owned(), "eA==".to_owned(), "eHh4eHg=".to_owned()]);
            Ok(values)
        }
        [Look::Number] => {
            let mut numbers: Vec<f64> = operands(atoms, base)?
                .iter()
                .filter_map(|text| parse_number(text))
                .collect();
            numbers.sort_by(f64::total_cmp);
            let between = numbers
                .windows(2)
                .filter_map(|pair| Some(pair.first()? / 2.0 + pair.last()? / 2.0))
                .collect::<Vec<_>>();
            let ends = [
                numbers.first().map_or(0.0, |n| n - n.abs() - 1.0),
                numbers.last().map_or(0.0, |n| n + n.abs() + 1.0),
            ];
            let all = numbers.iter().chain(&between).chain(&ends);
            let mut values: Vec<String> = all.map(f64::to_string).collect();
            values.push("x".to_owned());
            Ok(values)
        }
        [Look::Address] => Ok(addresses(base, atoms)?
            .iter()
            .map(IpAddr::to_string)
            .chain(["x".to_owned()])
            .collect()),
        _ => Err(mixed(atoms)),
    }
}

/// The edges of every comparison with the clock.
fn instants(base: &Question, atoms: &[Atom<'_>]) -> Result<Vec<UnixMillis>, Undecided> {
    if looks(atoms)
        .iter()
        .any(|l| !matches!(l, Look::Date | Look::Number))
    {
        return Err(mixed(atoms));
    }
    let mut instants = vec![base.now, UnixMillis(0)];
    for text in operands(atoms, base)? {
        let date_secs = parse_date(&text).map(|nanos| nanos.div_euclid(1_000_000_000));
        #[allow(clippy::cast_possible_truncation)] // saturates
        let number_secs = parse_number(&text).map(|secs| secs.floor() as i128);
        for secs in [date_secs, number_secs].into_iter().flatten() {
            for secs in [secs - 1, secs, secs + 1] {
                // Beyond the year 9999 there is no RFC 3339 text.
                let within = u64::try_from(secs).ok().filter(|s| *s < 253_402_300_799);
                instants.extend(within.map(UnixMillis::from_secs));
            }
        }
    }
    Ok(instants)
}

/// The edges of all address blocks.
fn addresses(base: &Question, atoms: &[Atom<'_>]) -> Result<Vec<IpAddr>, Undecided> {
    if looks(atoms).iter().any(|look| *look != Look::Address) {
        return Err(mixed(atoms));
    }
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    for text in operands(atoms, base)? {
        if let Some(network) = Network::parse(&text) {
            let (first, after) = network.edges();
            addresses.push(first);
            addresses.extend(after);
        }
    }
    Ok(addresses)
}

fn register(
    base: &Question,
    index: u8,
    atoms: &[Atom<'_>],
    bounds: &Bounds<'_>,
) -> Result<Vec<Choice>, Undecided> {
    if looks(atoms).iter().any(|look| *look != Look::Text) {
        return Err(mixed(atoms));
    }
    let is_image = index == 0 && bounds.state == State::OtherImage;
    let zeros = "0".repeat(96);
    let mut all = Vec::new();
    for atom in atoms {
        all.extend(patterns(atom.condition, base)?);
    }
    let wanted = bounds
        .nitrotpm
        .get(&index)
        .filter(|_| bounds.state == State::NitroTpm);
    // Values that are told apart by what they mean, too.
    all.extend(
        bounds
            .expected
            .iter()
            .filter(|_| is_image)
            .map(|v| literal(v)),
    );
    all.extend(wanted.into_iter().flatten().map(|v| literal(v)));
    all.push(literal(&zeros));
    let shape = vec![Symbol::Of(HEX_DIGITS_ONLY); 96];
    let mut values = words(&all, &shape, 1)?;
    values.retain(|v| !is_image || (*v != zeros && !bounds.expected.contains(v)));
    let set = move |question: &mut Question, value: Option<String>| {
        let recipient = question.recipient.get_or_insert_with(Recipient::default);
        match value.and_then(|text| hex::decode(text).ok()) {
            Some(bytes) => recipient.pcrs.insert(index, bytes),
            None => recipient.pcrs.remove(&index),
        };
    };
    // An enclave's document always has PCR0 to PCR2.
    if index < 3 && bounds.state != State::NitroTpm {
        return Ok(each(values, move |q, v| set(q, Some(v))));
    }
    Ok(optional(values, set))
}

/// Sixteen digits, the least remarkable first.
const HEX_DIGITS_ONLY: &str = "a5c3e1fb2d467890";

/// All kinds of encryption contexts: names by the conditions on names, values by
/// the conditions on each name, and as many spellings of a name as conditions
/// could want to see.
fn contexts(base: &Question, atoms: &[Atom<'_>]) -> Result<Vec<Choice>, Undecided> {
    let mut classes: BTreeMap<&str, Vec<Atom<'_>>> = BTreeMap::new();
    let mut names_patterns = Vec::new();
    for atom in atoms {
        match atom.condition.key() {
            ConditionKey::EncryptionContext(name) => {
                classes.entry(name).or_default().push(*atom);
            }
            _ => names_patterns.extend(patterns(atom.condition, base)?),
        }
    }
    if looks(atoms).iter().any(|look| *look != Look::Text) && classes.len() < atoms.len() {
        // Values may be numbers; names may not.
        let keys_only: Vec<_> = atoms
            .iter()
            .filter(|a| *a.condition.key() == ConditionKey::EncryptionContextKeys)
            .copied()
            .collect();
        if looks(&keys_only).iter().any(|look| *look != Look::Text) {
            return Err(mixed(&keys_only));
        }
    }
    let spellings = |atoms: &[Atom<'_>]| {
        let existential = atoms
            .iter()
            .filter(|a| a.condition.operator().is_existential());
        existential.count().max(1)
    };
    let most = classes
        .values()
        .map(|atoms| spellings(atoms))
        .max()
        .unwrap_or(1);
    names_patterns.extend(classes.keys().map(|name| words::caseless(name)));
    let mut names = Vec::new();
    let mut seen: BTreeMap<(Option<&str>, Vec<bool>), usize> = BTreeMap::new();
    for word in words(&names_patterns, &vec![Symbol::One, Symbol::Any], most)? {
        let lower = word.to_lowercase();
        let class = classes.get_key_value(lower.as_str());
        let mut alone = base.clone();
        alone.facts.encryption_context = Some([(word.clone(), "x".to_owned())].into());
        let kind = (class.map(|(name, _)| *name), signature(&alone, atoms));
        let count = seen.entry(kind).or_default();
        *count += 1;
        if *count > class.map_or(1, |(_, atoms)| spellings(atoms)) {
            continue;
        }
        let values = match class {
            Some((_, atoms)) => texts(base, atoms, &vec![Symbol::Any])?,
            None => vec!["x".to_owned()],
        };
        names.push((word, values));
    }
    let mut all: Vec<BTreeMap<String, String>> = vec![BTreeMap::new()];
    for (name, values) in names {
        let mut longer = Vec::new();
        for context in &all {
            for value in &values {
                let mut with = context.clone();
                with.insert(name.clone(), value.clone());
                longer.push(with);
            }
        }
        all.extend(longer);
        if all.len() > CONTEXTS_MAX {
            return Err(Undecided::TooLarge {
                what: "encryption contexts".to_owned(),
                max: CONTEXTS_MAX,
            });
        }
    }
    all.sort_by_key(BTreeMap::len);
    Ok(each(all, |q, context| {
        q.facts.encryption_context = Some(context)
    }))
}

/// All sets of members that differ in what conditions see of them, each with
/// `always`.
fn kinds_of_members(
    base: &Question,
    atoms: &[Atom<'_>],
    members: Vec<String>,
    always: Option<&str>,
    set: impl Fn(&mut Question, &[String]),
) -> Result<Vec<Vec<String>>, Undecided> {
    let mut seen = BTreeSet::new();
    let mut kinds = Vec::new();
    let own = always.map(str::to_owned);
    for member in own.iter().cloned().chain(members) {
        let mut alone = base.clone();
        set(&mut alone, std::slice::from_ref(&member));
        if seen.insert(signature(&alone, atoms)) {
            kinds.push(member);
        }
    }
    if kinds.len() > SET_KINDS_MAX {
        return Err(Undecided::TooLarge {
            what: "kinds of members of a set".to_owned(),
            max: SET_KINDS_MAX,
        });
    }
    let mut sets: Vec<Vec<String>> = vec![Vec::new()];
    for kind in kinds {
        let mut longer = sets.clone();
        longer.iter_mut().for_each(|set| set.push(kind.clone()));
        sets.extend(longer);
    }
    if let Some(own) = own {
        sets.retain(|set| set.contains(&own));
    }
    sets.sort_by_key(Vec::len);
    Ok(sets)
}
