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
    asked::{Asked, PAIRS},
    claim::Undecided,
    contexts::{contexts, kinds_of_members},
    values::{
        Atom, Look, addresses, instants, is_settled, looks, mixed, patterns, signature, texts,
    },
    words::{Pattern, Symbol, literal, words},
};
use crate::{
    model::{
        condition_key::{ConditionKey, Row, ValueType},
        operation::Operation,
        spec::{KeySpec, MessageType, Named, Origin},
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
        if is_settled(key) {
            return None;
        }
        Some(match key {
            K::ImageSha384 => Self::Register(K::Pcr(0), 0),
            K::Pcr(index) | K::NitroTpmPcr(index) => Self::Register(key.clone(), *index),
            K::EncryptionContext(_) | K::EncryptionContextKeys => Self::Context,
            K::RequestTag(_) | K::TagKeys => Self::RequestTags,
            // Two keys that read the same.
            K::EpochTime => Self::Key(K::CurrentTime),
            K::MultiRegion => Self::Key(K::MultiRegionKeyType),
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
        match self {
            Self::Register(key, index) => match (&key, bounds.state) {
                (ConditionKey::NitroTpmPcr(_), State::NitroTpm) => {
                    register(base, key, index, atoms, bounds)
                }
                (ConditionKey::NitroTpmPcr(_), _) | (_, State::Unattested | State::NitroTpm) => {
                    Ok(Vec::new())
                }
                (_, State::Debug) if index < 3 => Ok(Vec::new()),
                (_, State::Debug | State::OtherImage) => register(base, key, index, atoms, bounds),
            },
            Self::Context if asked.has(&ConditionKey::EncryptionContextKeys) => {
                Ok(contexts(base, atoms)?
                    .into_iter()
                    .map(|context| {
                        Rc::new(move |question: &mut Question| {
                            question.facts.encryption_context = Some(context.clone());
                        }) as Choice
                    })
                    .collect())
            }
            Self::Context => Ok(Vec::new()),
            Self::RequestTags if asked.operation == Operation::ReplicateKey => {
                Err(Undecided::Beyond {
                    what: "conditions on the tags of a new replica".to_owned(),
                })
            }
            Self::RequestTags => Ok(Vec::new()),
            Self::Key(key) => {
                let proposed = match key.row() {
                    Some(row) if !row.is_on(asked.operation) => Vec::new(),
                    Some(row) => values(&key, row, base, atoms, bounds)?,
                    // A key of AWS that the table does not have.
                    None if key.is_global() => free(ValueType::Text, base, atoms)?,
                    None => Vec::new(),
                };
                Ok(each(&key, proposed))
            }
        }
    }
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
    value: ValueType,
    base: &Question,
    atoms: &[Atom<'_>],
) -> Result<Vec<Presented>, Undecided> {
    Ok(match value {
        ValueType::Bool => optional([true, false]),
        _ => optional(texts(base, atoms, &vec![Symbol::Any])?),
    })
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
    let (asked, facts) = (bounds.asked, &base.facts);
    let region = vec![Symbol::Of(REGION), Symbol::SomeOf(REGION)];
    // The usual value first, so that a witness is a plain request.
    let usual = |value: &Option<String>| value.clone().into_iter();
    let names = |list: Vec<&'static str>| list.into_iter().map(str::to_owned);
    let of_specs = |list: fn(KeySpec) -> Vec<&'static str>| {
        names(asked.specs.iter().copied().flat_map(list).collect())
    };
    Ok(match key {
        K::EncryptionAlgorithm => always(of_specs(|spec| {
            spec.encryption_algorithms()
                .iter()
                .map(|a| a.name())
                .collect()
        })),
        K::SigningAlgorithm => always(usual(&facts.signing_algorithm).chain(of_specs(|spec| {
            spec.signing_algorithms().iter().map(|a| a.name()).collect()
        }))),
        K::MacAlgorithm => always(usual(&facts.mac_algorithm).chain(of_specs(|spec| {
            spec.mac_algorithms().iter().map(|a| a.name()).collect()
        }))),
        K::MessageType => always(MessageType::ALL.iter().map(|it| it.name())),
        K::DataKeyPairSpec => always(PAIRS.iter().map(|it| it.name())),
        K::KeySpec => always(asked.specs.iter().map(|it| it.name())),
        K::KeyUsage => always(asked.usages.iter().map(|it| it.name())),
        K::KeyOrigin => always(Origin::ALL.iter().map(|it| it.name())),
        K::MultiRegionKeyType => optional(["PRIMARY", "REPLICA"]),
        K::GrantConstraintType => optional(["EncryptionContextSubset", "EncryptionContextEquals"]),
        K::RetiringPrincipal => optional(bounds.principals),
        K::ReplicaRegion => always(texts(base, atoms, &region)?),
        K::RequestedRegion if bounds.region_known => Vec::new(),
        K::RequestedRegion => {
            always(usual(&facts.requested_region).chain(texts(base, atoms, &region)?))
        }
        K::RequestAlias => optional(texts(base, atoms, &alias_shape())?),
        K::ResourceTag(_) | K::PrincipalTag(_) | K::UserAgent => free(row.value, base, atoms)?,
        K::ResourceAliases => {
            let aliases = texts(base, atoms, &alias_shape())?;
            kinds_of_members(base, atoms, key, aliases, None)?
                .into_iter()
                .map(Some)
                .collect()
        }
        K::GrantOperations => {
            let all = names(GRANT_OPERATIONS.to_vec()).collect();
            kinds_of_members(base, atoms, key, all, bounds.granted)?
                .into_iter()
                .map(Some)
                .collect()
        }
        K::SecureTransport => always([true, false]),
        K::BypassPolicyLockoutSafetyCheck | K::ReEncryptOnSameKey | K::GrantIsForAwsResource => {
            always([false, true])
        }
        K::ScheduleKeyDeletionPendingWindowInDays => always(7..=30),
        K::CurrentTime => always(instants(base, atoms)?),
        K::SourceIp => optional(addresses(base, atoms)?),

        K::UserId
        | K::SourceIdentity
        | K::TokenIssueTime
        | K::MultiFactorAuthPresent
        | K::ViaAwsService
        | K::ByName(_) => free(row.value, base, atoms)?,

        // The plainest request has the only value there is.
        K::PolicyName | K::KeyAgreementAlgorithm => Vec::new(),
        // The search for grants chooses it.
        K::GranteePrincipal => Vec::new(),
        // No permission is asked about whose requests have them.
        K::WrappingAlgorithm
        | K::WrappingKeySpec
        | K::ExpirationModel
        | K::PrimaryRegion
        | K::RotationPeriodInDays => Vec::new(),
        // Settled by who calls, or a part that several keys read.
        K::CallerAccount
        | K::PrincipalArn
        | K::PrincipalAccount
        | K::PrincipalType
        | K::PrincipalIsAwsService
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
        | K::MultiRegion
        | K::Unknown(_) => Vec::new(),
    })
}

const REGION: &str = "abcdefghijklmnopqrstuvwxyz0123456789-";
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
    // An enclave's document always has PCR0 to PCR2.
    let values = if index < 3 && bounds.state != State::NitroTpm {
        always(values)
    } else {
        optional(values)
    };
    Ok(each(&key, values))
}

/// Sixteen digits, the least remarkable first.
const HEX_DIGITS_ONLY: &str = "a5c3e1fb2d467890";
