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
    rc::Rc,
};

use super::{
    asked::{Asked, KeyKind},
    claim::Undecided,
    contexts::{contexts, kinds_of_members},
    values::{
        Atom, Look, addresses, instants, is_settled, looks, mixed, patterns, signature, texts,
    },
    words::{Pattern, Symbol, literal, words},
};
use crate::{
    model::{
        condition_key::{ConditionKey, On, Row, ValueType},
        operation::Operation,
        region::REGIONS,
        spec::{KeySpec, KeyUsage, MessageType, Named},
    },
    policy::{GRANT_OPERATIONS, Policy, Question, document::Statement, principals::Naming},
};

/// What the caller shows of an enclave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Unattested,
    Debug,
    OtherImage,
    NitroTpm,
    /// The document of an expected image, whose PCR0 the plainest request has.
    Wanted,
}

/// One way to fill in a part of a question.
pub(super) type Choice = Rc<dyn Fn(&mut Question)>;

/// What the values depend on beside the conditions.
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
    /// The operations that a grant must have.
    pub(super) granted: &'a [String],
    /// What the key may be, the usual one first.
    pub(super) kinds: &'a [KeyKind],
}

/// The statements of a policy that are about an action at all.
pub(super) fn covering<'a>(policy: &'a Policy, action: &str) -> Vec<&'a Statement> {
    let covers = |statement: &&Statement| {
        let actions = statement.actions.as_ref();
        statement.resources.is_some() && actions.is_some_and(|it| it.cover_action(action))
    };
    policy.statements().iter().filter(covers).collect()
}

/// The statements that can count for the question, whatever its facts are; `own` are
/// those of the key policy that are about its action.
pub(super) fn relevant<'a>(
    question: &'a Question,
    own: &[&'a Statement],
) -> Vec<(&'a Statement, bool)> {
    let has_boundary = question.boundary.is_some();
    let named =
        |statement: &Statement| statement.names(&question.principal, has_boundary) != Naming::No;
    let is_root = question.principal.acts_for_root();
    let theirs = question
        .identity_policies
        .iter()
        .chain(&question.boundary)
        .filter(|_| !is_root)
        .flat_map(|policy| covering(policy, &question.action))
        .map(|s| (s, false));
    let own = own.iter().map(|s| (*s, true));
    own.chain(theirs)
        .filter(|(statement, _)| named(statement))
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
        let kept = distinct(base, &atoms, proposed);
        if !kept.is_empty() {
            out.push(kept);
        }
    }
    Ok(out)
}

/// Keeps the first of all choices that satisfy the same conditions.
fn distinct(base: &Question, atoms: &[Atom<'_>], proposed: Vec<Choice>) -> Vec<Choice> {
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

/// A part of a question that varies on its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// What the key is, and the algorithm, which goes by it.
    Kind,
    Register(ConditionKey, u8),
    Context,
    RequestTags,
    /// What one condition key reads.
    Key(ConditionKey),
}

impl Part {
    /// `None` for what the caller and the key already say.
    fn of(key: &ConditionKey) -> Option<Self> {
        use ConditionKey as K;
        if is_settled(key) && *key != K::PrincipalIsAwsService {
            return None;
        }
        Some(match key {
            K::KeySpec
            | K::KeyUsage
            | K::KeyOrigin
            | K::MultiRegion
            | K::MultiRegionKeyType
            | K::EncryptionAlgorithm
            | K::SigningAlgorithm
            | K::MacAlgorithm => Self::Kind,
            K::ImageSha384 => Self::Register(K::Pcr(0), 0),
            K::Pcr(index) | K::NitroTpmPcr(index) => Self::Register(key.clone(), *index),
            K::EncryptionContext(_) | K::EncryptionContextKeys => Self::Context,
            K::RequestTag(_) | K::TagKeys => Self::RequestTags,
            // Two keys that read the same.
            K::EpochTime => Self::Key(K::CurrentTime),
            other => Self::Key(other.clone()),
        })
    }

    fn propose(
        self,
        base: &Question,
        atoms: &[Atom<'_>],
        bounds: &Bounds<'_>,
    ) -> Result<Vec<Choice>, Undecided> {
        let asked = bounds.asked;
        // A grant's constraint is an encryption context, too, and AWS shows it as one.
        let has_context = asked.has(&ConditionKey::EncryptionContextKeys)
            || asked.operation == Operation::CreateGrant;
        match self {
            Self::Kind => Ok(kinds(base, atoms, bounds)),
            Self::Register(key, index) => match (&key, bounds.state) {
                (ConditionKey::NitroTpmPcr(_), State::NitroTpm) if index <= NITROTPM_PCR_MAX => {
                    register(base, key, index, atoms, bounds)
                }
                (ConditionKey::NitroTpmPcr(_), _) | (_, State::Unattested | State::NitroTpm) => {
                    Ok(Vec::new())
                }
                _ if index > PCR_MAX => Ok(Vec::new()),
                (_, State::Debug) if index < 3 => Ok(Vec::new()),
                (_, State::Wanted) if index == 0 => Ok(Vec::new()),
                (_, State::Debug | State::OtherImage | State::Wanted) => {
                    register(base, key, index, atoms, bounds)
                }
            },
            Self::Context if has_context => Ok(contexts(base, atoms)?
                .into_iter()
                .map(|context| {
                    Rc::new(move |question: &mut Question| {
                        question.facts.encryption_context = Some(context.clone());
                    }) as Choice
                })
                .collect()),
            Self::Context => Ok(Vec::new()),
            Self::RequestTags if asked.operation == Operation::ReplicateKey => {
                Err(Undecided::Beyond {
                    what: "conditions on the tags of a new replica".to_owned(),
                })
            }
            Self::RequestTags => Ok(Vec::new()),
            Self::Key(ConditionKey::RequestedRegion) => Ok(if bounds.region_known {
                Vec::new()
            } else {
                regions(base)
            }),
            Self::Key(key) => {
                let is_of_sets = |atom: &Atom<'_>| atom.condition.operator().is_of_sets();
                let any = |value, many| free(&key, value, many, base, atoms);
                let proposed = match key.row() {
                    Some(row) => match row.on {
                        // Of calls to other services that KMS is not.
                        On::Service("sts" | "iam" | "s3") => Vec::new(),
                        // What a session brings along from where it was made.
                        On::Service(_) => any(row.value, row.many)?,
                        _ if !row.is_on(asked.operation) => Vec::new(),
                        _ => values(&key, row, base, atoms, bounds)?,
                    },
                    // AWS's table of the keys of KMS is complete.
                    None if key.name().starts_with("kms:") => Vec::new(),
                    // Claims of an identity provider, keys of services, new global keys.
                    None => any(ValueType::Text, atoms.iter().any(is_of_sets))?,
                };
                Ok(each(&key, proposed))
            }
        }
    }
}

/// The registers of an enclave: AWS lists PCR0 to PCR31.
const PCR_MAX: u8 = 31;
/// An enclave's document has all registers before this one, extended or not.
const PCR_ALWAYS: u8 = 16;
const NITROTPM_PCR_MAX: u8 = 23;

/// What the key may be and what is done with it, as far as conditions look at it.
fn kinds(base: &Question, atoms: &[Atom<'_>], bounds: &Bounds<'_>) -> Vec<Choice> {
    use ConditionKey as K;
    let mentions = |keys: &[K]| atoms.iter().any(|atom| keys.contains(atom.condition.key()));
    let by_spec = mentions(&[
        K::KeySpec,
        K::KeyUsage,
        K::EncryptionAlgorithm,
        K::SigningAlgorithm,
        K::MacAlgorithm,
    ]);
    let by_origin = mentions(&[K::KeyOrigin, K::MultiRegion, K::MultiRegionKeyType]);
    let key = &base.key;
    let mut out = Vec::new();
    for kind in bounds.kinds {
        let same_spec = key.spec == kind.spec.name() && key.usage == kind.usage.name();
        let multi_region = key.multi_region_type.as_deref();
        let same_origin = key.origin == kind.origin.name() && multi_region == kind.multi_region;
        if !(by_spec || same_spec) || !(by_origin || same_origin) {
            continue;
        }
        let of_spec = |list: Vec<&'static str>, usual: &Option<String>| -> Vec<Option<String>> {
            match (usual, list.is_empty()) {
                (Some(_), false) => list.into_iter().map(|it| Some(it.to_owned())).collect(),
                _ => vec![None],
            }
        };
        let spec = kind.spec;
        let encryption = spec.encryption_algorithms().iter().map(|a| a.name());
        let signing: Vec<_> = spec.signing_algorithms().iter().map(|a| a.name()).collect();
        let mac: Vec<_> = spec.mac_algorithms().iter().map(|a| a.name()).collect();
        for encryption in of_spec(encryption.collect(), &base.facts.encryption_algorithm) {
            for signing in of_spec(signing.clone(), &base.facts.signing_algorithm) {
                for mac in of_spec(mac.clone(), &base.facts.mac_algorithm) {
                    let (kind, encryption) = (*kind, encryption.clone());
                    let (signing, mac) = (signing.clone(), mac.clone());
                    out.push(Rc::new(move |question: &mut Question| {
                        kind.put(question);
                        let facts = &mut question.facts;
                        facts.encryption_algorithm.clone_from(&encryption);
                        facts.signing_algorithm.clone_from(&signing);
                        facts.mac_algorithm.clone_from(&mac);
                    }) as Choice);
                }
            }
        }
    }
    out
}

impl KeyKind {
    /// Makes the question one about such a key.
    pub(super) fn put(self, question: &mut Question) {
        let key = &mut question.key;
        self.spec.name().clone_into(&mut key.spec);
        self.usage.name().clone_into(&mut key.usage);
        self.origin.name().clone_into(&mut key.origin);
        key.multi_region_type = self.multi_region.map(str::to_owned);
    }
}

/// The Regions there are, the key's own first; a key is where it is called.
fn regions(base: &Question) -> Vec<Choice> {
    let usual = base.key.region().to_owned();
    let all = std::iter::once(usual.clone()).chain(REGIONS.iter().map(|it| (*it).to_owned()));
    all.map(|region| {
        let of_usual = format!(":kms:{usual}:");
        Rc::new(move |question: &mut Question| {
            let arn = &question.key.arn;
            question.key.arn = arn.replacen(&of_usual, &format!(":kms:{region}:"), 1);
            question.facts.requested_region = Some(region.clone());
        }) as Choice
    })
    .collect()
}

/// Whether a request can be like that: parts that vary on their own exclude each
/// other here and there.
pub(super) fn is_possible(question: &Question) -> bool {
    let (facts, key) = (&question.facts, &question.key);
    let is_symmetric = key.spec == KeySpec::SymmetricDefault.name();
    let has_context = facts
        .encryption_context
        .as_ref()
        .is_some_and(|it| !it.is_empty());
    if !is_symmetric && (has_context || facts.grant_constraint_type.is_some()) {
        return false;
    }
    let by_endpoint = facts
        .condition_keys
        .keys()
        .any(|name| name.starts_with("aws:sourcevpc") || name.starts_with("aws:vpc"));
    if by_endpoint && facts.source_ip.is_some() {
        return false;
    }
    let kind = KeySpec::parse(&key.spec).zip(KeyUsage::parse(&key.usage));
    let can_be_granted = |name: &String| {
        let operation = Operation::of_grant(name);
        operation
            .zip(kind)
            .is_some_and(|(it, (spec, usage))| it.suits(spec, usage))
    };
    facts.grant_operations.iter().flatten().all(can_be_granted)
}

/// The values of a key in one request; `None` when the request does not have it.
type Presented = Option<Vec<String>>;

fn each(key: &ConditionKey, values: Vec<Presented>) -> Vec<Choice> {
    values
        .into_iter()
        .map(|value| {
            let key = key.clone();
            Rc::new(move |question: &mut Question| question.present(&key, value.clone())) as Choice
        })
        .collect()
}

fn always<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<Presented> {
    let one = |value: T| Some(vec![value.to_string()]);
    values.into_iter().map(one).collect()
}

/// Absent first, so that a witness has no more than it needs.
fn optional<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<Presented> {
    std::iter::once(None).chain(always(values)).collect()
}

/// Anything of the type, as only AWS presents it: a service that calls for the
/// caller, the VPC endpoint, the organization, ….
fn free(
    key: &ConditionKey,
    value: ValueType,
    many: bool,
    base: &Question,
    atoms: &[Atom<'_>],
) -> Result<Vec<Presented>, Undecided> {
    let alone = match value {
        ValueType::Bool => ["true", "false"].map(str::to_owned).to_vec(),
        _ => texts(base, atoms, &vec![Symbol::Any])?,
    };
    if !many {
        return Ok(optional(alone));
    }
    let sets = kinds_of_members(base, atoms, key, alone, &[])?.into_iter();
    Ok(sets.map(|set| (!set.is_empty()).then_some(set)).collect())
}

/// The values of a key that requests for the permission have.
fn values(
    key: &ConditionKey,
    row: &Row,
    base: &Question,
    atoms: &[Atom<'_>],
    bounds: &Bounds<'_>,
) -> Result<Vec<Presented>, Undecided> {
    use ConditionKey as K;
    let names = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let any = || free(key, row.value, row.many, base, atoms);
    Ok(match key {
        K::MessageType => always(MessageType::ALL.iter().map(|it| it.name())),
        K::DataKeyPairSpec => {
            let pairs = KeySpec::ALL.iter().filter(|spec| {
                let is_pair = spec.is_rsa() || spec.name().starts_with("ECC_");
                spec.is_available() && is_pair
            });
            always(pairs.map(|it| it.name()))
        }
        K::GrantConstraintType => optional(["EncryptionContextSubset", "EncryptionContextEquals"]),
        K::RetiringPrincipal => optional(bounds.principals),
        K::ReplicaRegion => {
            let others = REGIONS.iter().filter(|it| **it != base.key.region());
            always(others)
        }
        K::RequestAlias => optional(texts(base, atoms, &alias_shape())?),
        // The root user has none.
        K::PrincipalTag(_) if base.principal.acts_for_root() => Vec::new(),
        K::ResourceTag(_) | K::PrincipalTag(_) | K::UserAgent => any()?,
        K::ResourceAliases => {
            let aliases = texts(base, atoms, &alias_shape())?;
            kinds_of_members(base, atoms, key, aliases, &[])?
                .into_iter()
                .map(Some)
                .collect()
        }
        K::GrantOperations => {
            let suits = |name: &String| {
                let operation = Operation::of_grant(name);
                let fits = |it: Operation| bounds.kinds.iter().any(|k| it.suits(k.spec, k.usage));
                operation.is_some_and(fits)
            };
            let mut all = names(&GRANT_OPERATIONS);
            all.retain(suits);
            kinds_of_members(base, atoms, key, all, bounds.granted)?
                .into_iter()
                .map(Some)
                .collect()
        }
        K::BypassPolicyLockoutSafetyCheck | K::GrantIsForAwsResource => always([false, true]),
        K::ScheduleKeyDeletionPendingWindowInDays => always(7..=30),
        K::CurrentTime => always(instants(base, atoms, base.now)?),
        K::SourceIp => optional(addresses(base, atoms)?),
        K::ExpirationModel => always(["KEY_MATERIAL_DOES_NOT_EXPIRE", "KEY_MATERIAL_EXPIRES"]),
        K::WrappingAlgorithm => always([
            "RSAES_OAEP_SHA_256",
            "RSAES_OAEP_SHA_1",
            "RSA_AES_KEY_WRAP_SHA_256",
            "RSA_AES_KEY_WRAP_SHA_1",
        ]),
        K::WrappingKeySpec => always(["RSA_2048", "RSA_3072", "RSA_4096"]),
        K::PrincipalIsAwsService => optional([true]),

        K::UserId
        | K::SourceIdentity
        | K::TokenIssueTime
        | K::MultiFactorAuthPresent
        | K::ViaAwsService
        | K::ByName(_) => any()?,

        // The plainest request has the only value there is: KMS speaks TLS alone, and
        // a ciphertext that comes back under the same key is as good as before.
        K::PolicyName | K::KeyAgreementAlgorithm | K::SecureTransport | K::ReEncryptOnSameKey => {
            Vec::new()
        }
        // The search for grants chooses it.
        K::GranteePrincipal => Vec::new(),
        // No permission is asked about whose requests have them.
        K::S3(_) | K::PrimaryRegion | K::RotationPeriodInDays => Vec::new(),
        // Settled by who calls, or a part that several keys read.
        K::KeySpec
        | K::KeyUsage
        | K::KeyOrigin
        | K::MultiRegion
        | K::MultiRegionKeyType
        | K::EncryptionAlgorithm
        | K::SigningAlgorithm
        | K::MacAlgorithm
        | K::RequestedRegion
        | K::CallerAccount
        | K::PrincipalArn
        | K::PrincipalAccount
        | K::PrincipalType
        | K::UserName
        | K::ResourceAccount
        | K::ImageSha384
        | K::Pcr(_)
        | K::NitroTpmPcr(_)
        | K::EncryptionContext(_)
        | K::EncryptionContextKeys
        | K::RequestTag(_)
        | K::TagKeys
        | K::EpochTime
        | K::Unknown(_) => Vec::new(),
    })
}

const ALIAS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-:";

fn alias_shape() -> Pattern {
    let mut shape = literal("alias/");
    shape.extend([Symbol::Of(ALIAS), Symbol::SomeOf(ALIAS)]);
    shape
}

fn register(
    base: &Question,
    key: ConditionKey,
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
        // Letters of either case: a register's value has small ones alone.
        let small = |symbol: Symbol| match symbol {
            Symbol::Letter(c) => Symbol::Char(c.to_ascii_lowercase()),
            other => other,
        };
        let found = patterns(atom.condition, base)?.into_iter();
        all.extend(found.map(|pattern| pattern.into_iter().map(small).collect::<Pattern>()));
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
    let values = if index < PCR_ALWAYS && bounds.state != State::NitroTpm {
        always(values)
    } else {
        optional(values)
    };
    Ok(each(&key, values))
}

/// Sixteen digits, the least remarkable first.
const HEX_DIGITS_ONLY: &str = "a5c3e1fb2d467890";
