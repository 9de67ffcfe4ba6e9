//! Custom key stores, and where in them a new key is.
//!
//! Source of truth: the KMS service model; AWS KMS developer guide, "Key stores";
//! the external key store proxy API specification. What a key in an external key
//! store encrypts is first sealed with material kept here, then by the proxy, so
//! that the proxy never sees plaintext. What a proxy does wrong becomes the
//! exceptions and texts of that specification; all others of this family were never
//! recorded with their messages and carry none.
//!
//! Unknown and chosen: `XksKeyInvalidResponseException`, which the specification
//! names and the service model does not have, is
//! `XksKeyInvalidConfigurationException` here.

use std::sync::{Arc, MutexGuard};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{
    keys::{
        custom_store::{Backing, Connection, CustomKeyStore, StoreKind},
        xks::{NOT_CONNECTED, Proxy, ProxyError, ProxyRefusal, is_endpoint},
    },
    kms::{
        answer::{Answer, answer, timestamp},
        call::CallContext,
        error::{Failure, Invalid, StoreFault, Unsupported},
        fields::{Fields, Pattern, Text, length},
        json::Object,
        sealing::{failed_in_use, proxy_call},
    },
    model::spec::{KeySpec, Origin},
    policy::Facts,
    world::arn::is_region_name,
};

const STORE_ID: Text = length(1, 64);
const STORE_NAME: Text = length(1, 256);
const PASSWORD: Text = length(7, 32);
const STORE_TYPES: &str = "[AWS_CLOUDHSM, EXTERNAL_KEY_STORE]";
const CONNECTIVITIES: &str = "[PUBLIC_ENDPOINT, VPC_ENDPOINT_SERVICE]";
const CLUSTER_ID: Text = Text {
    min: 19,
    max: 24,
    pattern: Some(Pattern {
        shown: "cluster-[2-7a-zA-Z]{11,16}",
        fits: |text| {
            text.strip_prefix("cluster-").is_some_and(|rest| {
                (11..=16).contains(&rest.len())
                    && rest
                        .bytes()
                        .all(|b| b.is_ascii_alphabetic() || (b'2'..=b'7').contains(&b))
            })
        },
    }),
};
const ENDPOINT: Text = Text {
    min: 10,
    max: 128,
    pattern: Some(Pattern {
        shown: "^https://[a-zA-Z0-9.-]+$",
        fits: is_endpoint,
    }),
};
const URI_PATH: Text = Text {
    min: 10,
    max: 128,
    pattern: Some(Pattern {
        shown: "^(/[a-zA-Z0-9\\/_-]+/kms/xks/v\\d{1,2})$|^(/kms/xks/v\\d{1,2})$",
        fits: is_uri_path,
    }),
};
const VPC_SERVICE: Text = Text {
    min: 20,
    max: 64,
    pattern: Some(Pattern {
        shown: "^(com|eu)\\.amazonaws\\.vpce\\.([a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$",
        fits: is_vpc_service,
    }),
};
const VPC_OWNER: Text = Text {
    min: 12,
    max: 12,
    pattern: Some(Pattern {
        shown: "[0-9]{12}",
        fits: |text| text.bytes().all(|b| b.is_ascii_digit()),
    }),
};
const ACCESS_KEY_ID: Text = Text {
    min: 20,
    max: 30,
    pattern: Some(Pattern {
        shown: "^[A-Z2-7]+$",
        fits: |text| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
        },
    }),
};
pub(crate) const XKS_KEY_ID: Text = Text {
    min: 1,
    max: 128,
    pattern: Some(Pattern {
        shown: "^[a-zA-Z0-9-_.]+$",
        fits: |text| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        },
    }),
};

fn is_uri_path(text: &str) -> bool {
    let Some((before, version)) = text.rsplit_once("/kms/xks/v") else {
        return false;
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_-".contains(&b);
    (1..=2).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_digit())
        && (before.is_empty() || (before.len() > 1 && before.starts_with('/')))
        && before.bytes().all(fits)
}

fn is_vpc_service(text: &str) -> bool {
    let mut parts = text.split('.');
    let starts = matches!(parts.next(), Some("com" | "eu"))
        && parts.next() == Some("amazonaws")
        && parts.next() == Some("vpce");
    let region = parts.next().is_some_and(is_region_name);
    let id = parts.next().and_then(|part| part.strip_prefix("vpce-svc-"));
    let is_id = id.is_some_and(|id| {
        let fits = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
        !id.is_empty() && id.bytes().all(fits)
    });
    starts && region && is_id && parts.next().is_none()
}

/// Members that `CreateCustomKeyStore` and `UpdateCustomKeyStore` share.
struct Members {
    cluster_id: Option<String>,
    has_password: bool,
    endpoint: Option<String>,
    path: Option<String>,
    vpc_name: Option<String>,
    vpc_owner: Option<String>,
    credential: Option<(String, Zeroizing<String>)>,
    /// Whether through a VPC endpoint service.
    connectivity: Option<bool>,
}

impl Members {
    fn read(fields: &mut Fields) -> Self {
        Self {
            cluster_id: fields.text("CloudHsmClusterId", CLUSTER_ID),
            has_password: fields.text("KeyStorePassword", PASSWORD).is_some(),
            endpoint: fields.text("XksProxyUriEndpoint", ENDPOINT),
            path: fields.text("XksProxyUriPath", URI_PATH),
            vpc_name: fields.text("XksProxyVpcEndpointServiceName", VPC_SERVICE),
            vpc_owner: fields.text("XksProxyVpcEndpointServiceOwner", VPC_OWNER),
            credential: fields.structure("XksProxyAuthenticationCredential", |inner| {
                let id = inner.required_text("AccessKeyId", ACCESS_KEY_ID);
                let secret = inner.required_text("RawSecretAccessKey", length(43, 64));
                (id, Zeroizing::new(secret))
            }),
            connectivity: fields.choice_by(
                "XksProxyConnectivity",
                |text| match text {
                    "PUBLIC_ENDPOINT" => Some(false),
                    "VPC_ENDPOINT_SERVICE" => Some(true),
                    _ => None,
                },
                CONNECTIVITIES,
            ),
        }
    }
}

pub(crate) fn create(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (name, trust_anchor, is_external, members) = Fields::read(body, |fields| {
        (
            fields.required_text("CustomKeyStoreName", STORE_NAME),
            fields.text("TrustAnchorCertificate", length(1, 5000)),
            fields
                .choice_by(
                    "CustomKeyStoreType",
                    |text| match text {
                        "AWS_CLOUDHSM" => Some(false),
                        "EXTERNAL_KEY_STORE" => Some(true),
                        _ => None,
                    },
                    STORE_TYPES,
                )
                .unwrap_or(false),
            Members::read(fields),
        )
    })?;
    call.authorize_account("kms:CreateCustomKeyStore", Facts::default())?;
    let _one_at_a_time = call.key_stores().manage();
    let kind = if is_external {
        if !cfg!(feature = "xks") {
            return Err(Failure::Unsupported(Unsupported::NotBuilt {
                feature: "xks",
            }));
        }
        external_kind(members)?
    } else {
        match (members.cluster_id, trust_anchor, members.has_password) {
            (Some(cluster_id), Some(trust_anchor), true) => StoreKind::CloudHsm {
                cluster_id,
                trust_anchor,
            },
            _ => return Err(Failure::Invalid(Invalid::CloudHsmMembers)),
        }
    };
    must_be_free(call, &name, Some(&kind), None)?;
    if let StoreKind::External { proxy, .. } = &kind {
        check_proxy(call, proxy).map_err(failed_at_store)?;
    }
    let unique: [u8; 9] = call.entropy().array();
    let id: Arc<str> = format!("cks-{:.17}", hex::encode(unique)).into();
    call.key_stores().put(CustomKeyStore {
        id: Arc::clone(&id),
        name,
        account: call.account().to_owned(),
        region: call.region().to_owned(),
        created: call.now,
        kind,
        connection: Connection::Disconnected,
    })?;
    answer(&json!({ "CustomKeyStoreId": &*id }))
}

fn external_kind(members: Members) -> Result<StoreKind, Failure> {
    let missing = || Failure::Invalid(Invalid::XksMembers);
    let (access_key_id, secret_access_key) = members.credential.ok_or_else(missing)?;
    let vpc_service = match (members.connectivity.ok_or_else(missing)?, members.vpc_name) {
        (true, Some(name)) => Some((name, members.vpc_owner)),
        (false, None) => None,
        _ => return Err(missing()),
    };
    Ok(StoreKind::External {
        proxy: Proxy {
            endpoint: members.endpoint.ok_or_else(missing)?,
            path: members.path.ok_or_else(missing)?,
            access_key_id,
            secret_access_key,
        },
        vpc_service,
    })
}

/// Refuses a name, cluster or proxy of another store.
fn must_be_free(
    call: &CallContext<'_>,
    name: &str,
    kind: Option<&StoreKind>,
    own_id: Option<&str>,
) -> Result<(), Failure> {
    for other in call.key_stores().of(call.account(), call.region()) {
        if Some(&*other.id) == own_id {
            continue;
        }
        if other.name == name {
            return Err(Failure::KeyStore(StoreFault::NameInUse));
        }
        match (kind, &other.kind) {
            (
                Some(StoreKind::CloudHsm { cluster_id, .. }),
                StoreKind::CloudHsm {
                    cluster_id: taken, ..
                },
            ) if cluster_id == taken => return Err(Failure::KeyStore(StoreFault::ClusterInUse)),
            (Some(StoreKind::External { proxy, .. }), StoreKind::External { proxy: taken, .. })
                if proxy.endpoint == taken.endpoint && proxy.path == taken.path =>
            {
                return Err(Failure::KeyStore(StoreFault::UriInUse));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_proxy(call: &CallContext<'_>, proxy: &Proxy) -> Result<(), ProxyError> {
    proxy.health(proxy_call(call, call.operation().name(), None))
}

/// A proxy that a store cannot be made for.
fn failed_at_store(error: ProxyError) -> Failure {
    use ProxyRefusal as R;
    let fault = match error {
        ProxyError::Unreachable
        | ProxyError::Tls
        | ProxyError::TimedOut
        | ProxyError::Refused(R::DependencyTimeout | R::Throttling) => StoreFault::ProxyUnreachable,
        ProxyError::Refused(R::AuthenticationFailed) => StoreFault::ProxyCredential,
        ProxyError::Refused(R::InvalidUriPath) => StoreFault::ProxyConfiguration,
        ProxyError::BadResponse
        | ProxyError::Strange
        | ProxyError::Refused(
            R::Validation
            | R::InvalidState
            | R::InvalidCiphertext
            | R::InvalidKeyUsage
            | R::AccessDenied
            | R::KeyNotFound
            | R::UnsupportedOperation
            | R::Internal,
        ) => StoreFault::ProxyResponse,
    };
    let message = error.message();
    Failure::Proxy { fault, message }
}

/// A proxy that a key cannot be made for.
fn failed_at_key(error: ProxyError) -> Failure {
    use ProxyRefusal as R;
    let fault = match error {
        ProxyError::Refused(R::AccessDenied) => return failed_in_use(error),
        ProxyError::Refused(R::KeyNotFound) => StoreFault::XksKeyNotFound,
        ProxyError::Refused(R::InvalidState | R::InvalidKeyUsage | R::UnsupportedOperation) => {
            StoreFault::XksKeyConfiguration
        }
        ProxyError::Unreachable
        | ProxyError::Tls
        | ProxyError::TimedOut
        | ProxyError::BadResponse
        | ProxyError::Strange
        | ProxyError::Refused(
            R::Validation
            | R::InvalidCiphertext
            | R::AuthenticationFailed
            | R::InvalidUriPath
            | R::Throttling
            | R::DependencyTimeout
            | R::Internal,
        ) => StoreFault::InvalidState,
    };
    let message = error.message();
    Failure::Proxy { fault, message }
}

/// `ConnectionErrorCode`.
fn connection_error(error: ProxyError) -> &'static str {
    use ProxyRefusal as R;
    match error {
        ProxyError::Unreachable => "XKS_PROXY_NOT_REACHABLE",
        ProxyError::Tls => "XKS_PROXY_INVALID_TLS_CONFIGURATION",
        ProxyError::TimedOut | ProxyError::Refused(R::DependencyTimeout | R::Throttling) => {
            "XKS_PROXY_TIMED_OUT"
        }
        ProxyError::Refused(R::AuthenticationFailed) => "INVALID_CREDENTIALS",
        ProxyError::Refused(R::AccessDenied) => "XKS_PROXY_ACCESS_DENIED",
        ProxyError::Refused(R::InvalidUriPath) => "XKS_PROXY_INVALID_CONFIGURATION",
        ProxyError::BadResponse
        | ProxyError::Strange
        | ProxyError::Refused(
            R::Validation
            | R::InvalidState
            | R::InvalidCiphertext
            | R::InvalidKeyUsage
            | R::KeyNotFound
            | R::UnsupportedOperation
            | R::Internal,
        ) => "XKS_PROXY_INVALID_RESPONSE",
    }
}

fn find(call: &CallContext<'_>, id: &str) -> Result<Arc<CustomKeyStore>, Failure> {
    call.key_stores()
        .get(id)
        .filter(|store| store.account == call.account() && store.region == call.region())
        .ok_or(Failure::CustomKeyStoreNotFound)
}

pub(crate) fn describe(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (id, name, page) = Fields::read(body, |fields| {
        (
            fields.text("CustomKeyStoreId", STORE_ID),
            fields.text("CustomKeyStoreName", STORE_NAME),
            fields.page(100),
        )
    })?;
    call.authorize_account("kms:DescribeCustomKeyStores", Facts::default())?;
    if id.is_some() && name.is_some() {
        return Err(Failure::Invalid(Invalid::StoreIdAndName));
    }
    let mut stores = call.key_stores().of(call.account(), call.region());
    stores.retain(|store| {
        id.as_deref().is_none_or(|id| id == &*store.id)
            && name.as_deref().is_none_or(|name| name == store.name)
    });
    if stores.is_empty() && (id.is_some() || name.is_some()) {
        return Err(Failure::CustomKeyStoreNotFound);
    }
    let stores = page.after_in(stores, |store| &store.id)?;
    let cut = page.cut(stores, |store| &store.id);
    answer(&cut.to_json("CustomKeyStores", |store| entry(store)))
}

fn entry(store: &CustomKeyStore) -> Value {
    let mut entry = Map::new();
    let mut put = |name: &str, value: Value| {
        entry.insert(name.to_owned(), value);
    };
    put("CustomKeyStoreId", (*store.id).into());
    put("CustomKeyStoreName", store.name.as_str().into());
    put("ConnectionState", store.connection.name().into());
    put("CreationDate", timestamp(store.created));
    if let Connection::Failed(code) = store.connection {
        put("ConnectionErrorCode", code.into());
    }
    match &store.kind {
        StoreKind::CloudHsm {
            cluster_id,
            trust_anchor,
        } => {
            put("CustomKeyStoreType", "AWS_CLOUDHSM".into());
            put("CloudHsmClusterId", cluster_id.as_str().into());
            put("TrustAnchorCertificate", trust_anchor.as_str().into());
        }
        StoreKind::External { proxy, vpc_service } => {
            put("CustomKeyStoreType", "EXTERNAL_KEY_STORE".into());
            let mut configuration = json!({
                "Connectivity": if vpc_service.is_some() { "VPC_ENDPOINT_SERVICE" } else { "PUBLIC_ENDPOINT" },
                "AccessKeyId": proxy.access_key_id,
                "UriEndpoint": proxy.endpoint,
                "UriPath": proxy.path,
            });
            if let Some((name, owner)) = vpc_service {
                configuration["VpcEndpointServiceName"] = name.as_str().into();
                if let Some(owner) = owner {
                    configuration["VpcEndpointServiceOwner"] = owner.as_str().into();
                }
            }
            put("XksProxyConfiguration", configuration);
        }
    }
    Value::Object(entry)
}

pub(crate) fn update(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (id, new_name, members) = Fields::read(body, |fields| {
        (
            fields.required_text("CustomKeyStoreId", STORE_ID),
            fields.text("NewCustomKeyStoreName", STORE_NAME),
            Members::read(fields),
        )
    })?;
    call.authorize_account("kms:UpdateCustomKeyStore", Facts::default())?;
    let _one_at_a_time = call.key_stores().manage();
    let mut store = (*find(call, &id)?).clone();
    let is_connected = store.connection == Connection::Connected;
    let mut moves = members.has_password || members.cluster_id.is_some();
    match &mut store.kind {
        StoreKind::CloudHsm { cluster_id, .. } => {
            if members.endpoint.is_some() || members.path.is_some() || members.credential.is_some()
            {
                return Err(Failure::Invalid(Invalid::CloudHsmMembers));
            }
            if let Some(new) = members.cluster_id {
                *cluster_id = new;
            }
        }
        StoreKind::External { proxy, vpc_service } => {
            if moves {
                return Err(Failure::Invalid(Invalid::XksMembers));
            }
            moves = members.endpoint.is_some() || members.connectivity.is_some();
            proxy.endpoint = members.endpoint.unwrap_or_else(|| proxy.endpoint.clone());
            proxy.path = members.path.unwrap_or_else(|| proxy.path.clone());
            if let Some((id, secret)) = members.credential {
                proxy.access_key_id = id;
                proxy.secret_access_key = secret;
            }
            match (members.connectivity, members.vpc_name) {
                (Some(false), _) => *vpc_service = None,
                (_, Some(name)) => *vpc_service = Some((name, members.vpc_owner)),
                (Some(true), None) if vpc_service.is_none() => {
                    return Err(Failure::Invalid(Invalid::XksMembers));
                }
                _ => {}
            }
        }
    }
    // Where a connected store is cannot be changed under it.
    if moves && is_connected {
        return Err(Failure::KeyStore(StoreFault::InvalidState));
    }
    if let Some(name) = new_name {
        store.name = name;
    }
    must_be_free(call, &store.name, Some(&store.kind), Some(&store.id))?;
    if let StoreKind::External { proxy, .. } = &store.kind {
        check_proxy(call, proxy).map_err(failed_at_store)?;
    }
    change(call, &id, |changed| {
        changed.name = store.name;
        changed.kind = store.kind;
    })
}

/// Refuses if the store was deleted in the meantime.
fn change(call: &CallContext<'_>, id: &str, change: impl FnOnce(&mut CustomKeyStore)) -> Answer {
    if !call.key_stores().change(id, change)? {
        return Err(Failure::CustomKeyStoreNotFound);
    }
    answer(&json!({}))
}

pub(crate) fn connect(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (store, _one_at_a_time) = find_to_manage(call, body)?;
    if store.connection == Connection::Connected {
        return Err(Failure::KeyStore(StoreFault::InvalidState));
    }
    let connection = match &store.kind {
        StoreKind::CloudHsm { .. } => Connection::Connected,
        StoreKind::External { proxy, .. } => match check_proxy(call, proxy) {
            Ok(()) => Connection::Connected,
            Err(error) => Connection::Failed(connection_error(error)),
        },
    };
    change(call, &store.id, |store| store.connection = connection)
}

pub(crate) fn disconnect(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (store, _one_at_a_time) = find_to_manage(call, body)?;
    if store.connection == Connection::Disconnected {
        return Err(Failure::KeyStore(StoreFault::InvalidState));
    }
    change(call, &store.id, |store| {
        store.connection = Connection::Disconnected;
    })
}

pub(crate) fn delete(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (store, _one_at_a_time) = find_to_manage(call, body)?;
    if store.connection == Connection::Connected {
        return Err(Failure::KeyStore(StoreFault::InvalidState));
    }
    for arn in call.key_stores().keys(&store.id) {
        if call.find_related(&arn)?.is_some() {
            return Err(Failure::KeyStore(StoreFault::HasKeys));
        }
    }
    call.key_stores().remove(&store.id)?;
    answer(&json!({}))
}

fn find_to_manage<'a>(
    call: &mut CallContext<'a>,
    body: Object<'_>,
) -> Result<(Arc<CustomKeyStore>, MutexGuard<'a, ()>), Failure> {
    let id = Fields::read(body, |fields| {
        fields.required_text("CustomKeyStoreId", STORE_ID)
    })?;
    call.authorize_account(call.action(), Facts::default())?;
    let one_at_a_time = call.key_stores().manage();
    Ok((find(call, &id)?, one_at_a_time))
}

/// Whether random bytes can come from a store: from a connected AWS CloudHSM key
/// store alone.
pub(crate) fn must_give_random(call: &CallContext<'_>, id: &str) -> Result<(), Failure> {
    let store = find(call, id)?;
    match (&store.kind, store.connection) {
        (StoreKind::CloudHsm { .. }, Connection::Connected) => Ok(()),
        (StoreKind::CloudHsm { .. }, _) => Err(Failure::KeyStore(StoreFault::InvalidState)),
        (StoreKind::External { .. }, _) => Err(Failure::Unsupported(Unsupported::InKeyStore)),
    }
}

/// Where `CreateKey` wants the material of a new key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement<'a> {
    pub(crate) origin: Origin,
    pub(crate) store: Option<&'a str>,
    pub(crate) xks_key_id: Option<&'a str>,
    pub(crate) spec: KeySpec,
    pub(crate) multi_region: bool,
}

/// Where a new key's material will be; `None` for keys outside custom key
/// stores.
pub(crate) fn place(
    call: &CallContext<'_>,
    wanted: Placement<'_>,
) -> Result<Option<Backing>, Failure> {
    let is_external = match wanted.origin {
        Origin::AwsKms | Origin::External => {
            if wanted.store.is_some() || wanted.xks_key_id.is_some() {
                return Err(Failure::Invalid(Invalid::StoreForOrigin));
            }
            return Ok(None);
        }
        Origin::CloudHsm => false,
        Origin::ExternalKeyStore => true,
    };
    let id = wanted
        .store
        .ok_or(Failure::Invalid(Invalid::StoreForOrigin))?;
    if wanted.spec != KeySpec::SymmetricDefault || wanted.multi_region {
        return Err(Failure::Unsupported(Unsupported::InKeyStore));
    }
    let store = find(call, id)?;
    let backing = |xks_key_id: Option<&str>| {
        Some(Backing {
            store: Arc::clone(&store.id),
            xks_key_id: xks_key_id.map(str::to_owned),
        })
    };
    if store.connection != Connection::Connected {
        let fault = StoreFault::InvalidState;
        return Err(match &store.kind {
            StoreKind::CloudHsm { .. } => Failure::KeyStore(fault),
            StoreKind::External { .. } => Failure::Proxy {
                fault,
                message: NOT_CONNECTED,
            },
        });
    }
    match (&store.kind, is_external, wanted.xks_key_id) {
        (StoreKind::CloudHsm { .. }, false, None) => Ok(backing(None)),
        (StoreKind::External { proxy, .. }, true, Some(key_id)) => {
            for arn in call.key_stores().keys(id) {
                let other = call.find_related(&arn)?;
                let backing = other.as_ref().and_then(|other| other.key.backing.as_ref());
                if backing.and_then(|b| b.xks_key_id.as_deref()) == Some(key_id) {
                    return Err(Failure::KeyStore(StoreFault::XksKeyInUse));
                }
            }
            match proxy.key(key_id, proxy_call(call, "CreateKey", None)) {
                Ok(key) if key.is_usable() => Ok(backing(Some(key_id))),
                Ok(_) => Err(Failure::KeyStore(StoreFault::XksKeyConfiguration)),
                Err(error) => Err(failed_at_key(error)),
            }
        }
        _ => Err(Failure::Invalid(Invalid::StoreForOrigin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vpc_endpoint_services_are_named_with_their_region() {
        for good in [
            "com.amazonaws.vpce.us-east-1.vpce-svc-0123abc",
            "eu.amazonaws.vpce.eusc-de-east-1.vpce-svc-1",
        ] {
            assert!(is_vpc_service(good), "{good}");
        }
        for bad in [
            "",
            "org.amazonaws.vpce.us-east-1.vpce-svc-1",
            "com.amazonaws.vpce.useast1.vpce-svc-1",
            "com.amazonaws.vpce.us-east-1.vpce-svc-",
            "com.amazonaws.vpce.us-east-1.vpce-svc-A",
            "com.amazonaws.vpce.us-east-1.vpce-svc-1.x",
        ] {
            assert!(!is_vpc_service(bad), "{bad}");
        }
    }

    #[test]
    fn uri_paths_end_in_the_api_and_its_version() {
        for good in ["/kms/xks/v1", "/example/prefix/kms/xks/v12"] {
            assert!(is_uri_path(good), "{good}");
        }
        for bad in [
            "",
            "/kms/xks/v",
            "/kms/xks/v123",
            "a/kms/xks/v1",
            "//kms/xks/vx",
            "/a b/kms/xks/v1",
        ] {
            assert!(!is_uri_path(bad), "{bad}");
        }
    }
}
