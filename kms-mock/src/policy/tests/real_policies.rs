//! Fourteen real key policies, each with the trap it sets.

use super::*;
use crate::recipient::tests::corpus;

fn real_policies() -> Option<Vec<Arc<Policy>>> {
    let folder = corpus("kms-policies")?;
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    assert_eq!(names.len(), 14);
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let policy = Policy::parse(&json["policy"].to_string(), PolicyKind::Key);
        Arc::new(policy.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    Some(names.iter().map(read).collect())
}

/// The expected hex value of a policy's condition key.
fn expected(policy: &Policy, key: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_str(policy.text()).unwrap();
    let mut found = Vec::new();
    for statement in json["Statement"].as_array().unwrap() {
        for operator in statement["Condition"]
            .as_object()
            .into_iter()
            .flat_map(|c| c.values())
        {
            match &operator[format!("kms:RecipientAttestation:{key}")] {
                serde_json::Value::String(text) => found.push(text.clone()),
                serde_json::Value::Array(items) => {
                    found.extend(items.iter().map(|i| i.as_str().unwrap().to_owned()));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn the_fourteen_real_policies_decide_as_their_traps_say() {
    let Some(policies) = real_policies() else {
        return;
    };
    let [
        p01,
        p02,
        p03,
        p04,
        p05,
        p06,
        p07,
        p08,
        p09,
        p10,
        p11,
        p12,
        p13,
        p14,
    ] = policies.as_slice()
    else {
        panic!("fourteen policies");
    };
    let role = session(OWNER, "data-processing");
    let zeros = "0".repeat(96);
    let debug = document(&[(0, &zeros), (1, &zeros), (2, &zeros)]);
    let value = |policy: &Policy, key: &str| expected(policy, key).remove(0);

    // 01: three operations with ImageSha384, all of which can be attested.
    let image = value(p01, "ImageSha384");
    let good = document(&[(0, &image)]);
    for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
        assert_eq!(
            Ask::new(p01, &role, action).attested(&good).outcome(),
            BY_KEY_POLICY
        );
        assert_eq!(Ask::new(p01, &role, action).outcome(), NO_RESOURCE);
        assert_eq!(
            Ask::new(p01, &role, action).attested(&debug).outcome(),
            NO_RESOURCE
        );
    }
    let other_role = session(OWNER, "data-processing2");
    assert_eq!(
        Ask::new(p01, &other_role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_RESOURCE
    );

    // 02: both registers of one operator block are needed.
    let (image, pcr3) = (value(p02, "ImageSha384"), value(p02, "PCR3"));
    let both = document(&[(0, &image), (3, &pcr3)]);
    let one = document(&[(0, &image), (3, &zeros)]);
    let absent = document(&[(0, &image)]);
    assert_eq!(
        Ask::new(p02, &role, "kms:Decrypt")
            .attested(&both)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p02, &role, "kms:Decrypt").attested(&one).outcome(),
        NO_RESOURCE
    );
    assert_eq!(
        Ask::new(p02, &role, "kms:Decrypt")
            .attested(&absent)
            .outcome(),
        NO_RESOURCE
    );

    // 03: zeros are matched by a debug enclave; Encrypt needs no enclave.
    assert_eq!(
        Ask::new(p03, &role, "kms:Decrypt")
            .attested(&debug)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(Ask::new(p03, &role, "kms:Encrypt").outcome(), BY_KEY_POLICY);
    let admin = session(OWNER, "KMS-admin");
    assert_eq!(
        Ask::new(p03, &admin, "kms:PutKeyPolicy").outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(Ask::new(p03, &admin, "kms:Decrypt").outcome(), NO_RESOURCE);

    // 04: the Deny hits who is not attested, since an absent key satisfies a
    // negated operator; ReEncrypt is the hole it leaves.
    let good = document(&[(0, &value(p04, "PCR0"))]);
    let anyone = with_iam(session(OWNER, "any"), "kms:*");
    assert_eq!(Ask::new(p04, &anyone, "kms:Decrypt").outcome(), EXPLICIT);
    assert_eq!(
        Ask::new(p04, &root(OWNER), "kms:Decrypt").outcome(),
        EXPLICIT
    );
    assert_eq!(
        Ask::new(p04, &anyone, "kms:Decrypt")
            .attested(&debug)
            .outcome(),
        EXPLICIT
    );
    let by_iam = Outcome::Allowed(AllowedBy::IdentityPolicy);
    assert_eq!(
        Ask::new(p04, &anyone, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        by_iam
    );
    assert_eq!(
        Ask::new(p04, &anyone, "kms:ReEncryptFrom").outcome(),
        by_iam
    );
    assert_eq!(
        Ask::new(p04, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );

    // 05: another account, named by its number; IAM there must allow, and the
    // Deny is not told.
    let good = document(&[(0, &value(p05, "ImageSha384"))]);
    let stranger = session(OTHER, "enclave");
    let allowed = with_iam(stranger.clone(), "kms:Decrypt");
    assert_eq!(
        Ask::new(p05, &allowed, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        Outcome::Allowed(AllowedBy::CrossAccount)
    );
    assert_eq!(
        Ask::new(p05, &stranger, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );
    assert_eq!(Ask::new(p05, &allowed, "kms:Decrypt").outcome(), HIDDEN);
    assert_eq!(Ask::new(p05, &allowed, "kms:Encrypt").outcome(), HIDDEN);

    // 06: empty conditions are none; nobody may put a policy.
    assert_eq!(
        Ask::new(p06, &role, "kms:GetPublicKey").outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p06, &role, "kms:DeriveSharedSecret").outcome(),
        NO_RESOURCE
    );
    let good = document(&[(0, &value(p06, "PCR0"))]);
    assert_eq!(
        Ask::new(p06, &role, "kms:DeriveSharedSecret")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p06, &root(OWNER), "kms:PutKeyPolicy").outcome(),
        NO_RESOURCE
    );

    // 07: PCR8 alone; operations without Recipient under it are dead.
    let good = document(&[(8, &value(p07, "PCR8"))]);
    assert_eq!(
        Ask::new(p07, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(Ask::new(p07, &role, "kms:Encrypt").outcome(), NO_RESOURCE);
    assert_eq!(
        Ask::new(p07, &role, "kms:GetKeyPolicy").outcome(),
        BY_KEY_POLICY
    );

    // 08: a list of two images, and the signer.
    let images = expected(p08, "PCR0");
    assert_eq!(images.len(), 2);
    let pcr8 = value(p08, "PCR8");
    for image in &images {
        let good = document(&[(0, image), (8, &pcr8)]);
        assert_eq!(
            Ask::new(p08, &role, "kms:Decrypt")
                .attested(&good)
                .outcome(),
            BY_KEY_POLICY
        );
    }
    let unsigned = document(&[(0, &images[0]), (8, &zeros)]);
    assert_eq!(
        Ask::new(p08, &role, "kms:Decrypt")
            .attested(&unsigned)
            .outcome(),
        NO_RESOURCE
    );
    for admin in ["Admin", "Build"] {
        let admin = session(OWNER, admin);
        assert_eq!(
            Ask::new(p08, &admin, "kms:PutKeyPolicy").outcome(),
            BY_KEY_POLICY
        );
    }

    // 09: all three registers; root may disable but not put a policy.
    let pcrs: Vec<String> = ["PCR0", "PCR1", "PCR2"]
        .iter()
        .map(|k| value(p09, k))
        .collect();
    let good = document(&[(0, &pcrs[0]), (1, &pcrs[1]), (2, &pcrs[2])]);
    let bad = document(&[(0, &pcrs[0]), (1, &pcrs[1]), (2, &zeros)]);
    assert_eq!(
        Ask::new(p09, &role, "kms:GenerateDataKey")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p09, &role, "kms:GenerateDataKey")
            .attested(&bad)
            .outcome(),
        NO_RESOURCE
    );
    assert_eq!(
        Ask::new(p09, &root(OWNER), "kms:PutKeyPolicy").outcome(),
        NO_RESOURCE
    );
    assert_eq!(
        Ask::new(p09, &root(OWNER), "kms:DisableKey").outcome(),
        Outcome::Allowed(AllowedBy::RootUser)
    );

    // 10: anybody from that image, of whatever account, if IAM at home allows.
    let good = document(&[(0, &value(p10, "PCR0"))]);
    assert_eq!(
        Ask::new(p10, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p10, &allowed, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        Outcome::Allowed(AllowedBy::CrossAccount)
    );
    assert_eq!(
        Ask::new(p10, &stranger, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );
    assert_eq!(Ask::new(p10, &role, "kms:Decrypt").outcome(), NO_RESOURCE);

    // 11: delegation to the account: IAM must allow too.
    let good = document(&[(0, &value(p11, "ImageSha384"))]);
    assert_eq!(
        Ask::new(p11, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );
    let allowed_here = with_iam(role.clone(), "kms:Decrypt");
    assert_eq!(
        Ask::new(p11, &allowed_here, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        by_iam
    );
    assert_eq!(
        Ask::new(p11, &allowed_here, "kms:Decrypt").outcome(),
        NO_RESOURCE
    );

    // 12: Sign is never attested.
    assert_eq!(Ask::new(p12, &role, "kms:Sign").outcome(), NO_RESOURCE);
    assert_eq!(
        Ask::new(p12, &root(OWNER), "kms:PutKeyPolicy").outcome(),
        NO_RESOURCE
    );

    // 13: no condition at all.
    assert_eq!(Ask::new(p13, &role, "kms:Decrypt").outcome(), BY_KEY_POLICY);
    assert_eq!(
        Ask::new(p13, &role, "kms:ReEncryptFrom").outcome(),
        BY_KEY_POLICY
    );

    // 14: four conditions, two of them on the same register.
    let pcrs: Vec<String> = ["PCR0", "PCR1", "PCR2"]
        .iter()
        .map(|k| value(p14, k))
        .collect();
    assert_eq!(value(p14, "ImageSha384"), pcrs[0]);
    let good = document(&[(0, &pcrs[0]), (1, &pcrs[1]), (2, &pcrs[2])]);
    assert_eq!(
        Ask::new(p14, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p14, &role, "kms:Decrypt")
            .attested(&debug)
            .outcome(),
        NO_RESOURCE
    );
    let reader = with_iam(session(OWNER, "reader"), "kms:GetKeyPolicy");
    assert_eq!(Ask::new(p14, &reader, "kms:GetKeyPolicy").outcome(), by_iam);
}
