//! Key specs, usages, origins and states, with their names on the wire.
//!
//! Source of truth: the KMS service model (enumerations) and AWS KMS developer
//! guide, "Key spec reference" (which algorithms go with which spec and usage).
//! There is no key material for `SM2`, which AWS offers in its China Regions alone:
//! they are a partition of their own that is not modelled.
//! [`KeySpec::is_available`] says so.

/// An enumeration of the service model.
pub(crate) trait Named: Copy + 'static {
    /// Its members; at least one.
    const ALL: &'static [Self];

    /// The member of that name on the wire.
    fn parse(text: &str) -> Option<Self>;
}

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $type { $($variant),+ }

        impl $type {
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl Named for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn parse(text: &str) -> Option<Self> {
                Self::parse(text)
            }
        }
    };
}

names!(
    /// `KeySpec`.
    KeySpec {
        SymmetricDefault => "SYMMETRIC_DEFAULT",
        Rsa2048 => "RSA_2048",
        Rsa3072 => "RSA_3072",
        Rsa4096 => "RSA_4096",
        EccNistP256 => "ECC_NIST_P256",
        EccNistP384 => "ECC_NIST_P384",
        EccNistP521 => "ECC_NIST_P521",
        EccSecgP256k1 => "ECC_SECG_P256K1",
        EccNistEdwards25519 => "ECC_NIST_EDWARDS25519",
        Hmac224 => "HMAC_224",
        Hmac256 => "HMAC_256",
        Hmac384 => "HMAC_384",
        Hmac512 => "HMAC_512",
        Sm2 => "SM2",
        MlDsa44 => "ML_DSA_44",
        MlDsa65 => "ML_DSA_65",
        MlDsa87 => "ML_DSA_87",
        MlKem512 => "ML_KEM_512",
        MlKem768 => "ML_KEM_768",
        MlKem1024 => "ML_KEM_1024",
    }
);

names!(
    /// `KeyUsage`.
    KeyUsage {
        EncryptDecrypt => "ENCRYPT_DECRYPT",
        SignVerify => "SIGN_VERIFY",
        GenerateVerifyMac => "GENERATE_VERIFY_MAC",
        KeyAgreement => "KEY_AGREEMENT",
        EncapsulateDecapsulate => "ENCAPSULATE_DECAPSULATE",
    }
);

names!(
    /// `Origin`.
    Origin {
        AwsKms => "AWS_KMS",
        External => "EXTERNAL",
        CloudHsm => "AWS_CLOUDHSM",
        ExternalKeyStore => "EXTERNAL_KEY_STORE",
    }
);

names!(
    /// `EncryptionAlgorithm`.
    EncryptionAlgorithm {
        SymmetricDefault => "SYMMETRIC_DEFAULT",
        RsaesOaepSha1 => "RSAES_OAEP_SHA_1",
        RsaesOaepSha256 => "RSAES_OAEP_SHA_256",
        Sm2Pke => "SM2PKE",
    }
);

names!(
    /// `SigningAlgorithm`.
    SigningAlgorithm {
        RsaPssSha256 => "RSASSA_PSS_SHA_256",
        RsaPssSha384 => "RSASSA_PSS_SHA_384",
        RsaPssSha512 => "RSASSA_PSS_SHA_512",
        RsaPkcs1Sha256 => "RSASSA_PKCS1_V1_5_SHA_256",
        RsaPkcs1Sha384 => "RSASSA_PKCS1_V1_5_SHA_384",
        RsaPkcs1Sha512 => "RSASSA_PKCS1_V1_5_SHA_512",
        EcdsaSha256 => "ECDSA_SHA_256",
        EcdsaSha384 => "ECDSA_SHA_384",
        EcdsaSha512 => "ECDSA_SHA_512",
        Sm2Dsa => "SM2DSA",
        MlDsaShake256 => "ML_DSA_SHAKE_256",
        Ed25519Sha512 => "ED25519_SHA_512",
        Ed25519PhSha512 => "ED25519_PH_SHA_512",
    }
);

names!(
    /// `MessageType`: what `Sign` and `Verify` are given.
    MessageType {
        Raw => "RAW",
        Digest => "DIGEST",
        ExternalMu => "EXTERNAL_MU",
    }
);

names!(
    /// `MacAlgorithm`.
    MacAlgorithm {
        HmacSha224 => "HMAC_SHA_224",
        HmacSha256 => "HMAC_SHA_256",
        HmacSha384 => "HMAC_SHA_384",
        HmacSha512 => "HMAC_SHA_512",
    }
);

names!(
    /// `KeyAgreementAlgorithm`.
    KeyAgreementAlgorithm {
        Ecdh => "ECDH",
    }
);

names!(
    /// `EncapsulationAlgorithm`.
    EncapsulationAlgorithm {
        MlKem => "ML_KEM",
    }
);

/// An algorithm of any usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Encryption(EncryptionAlgorithm),
    Signing(SigningAlgorithm),
    Mac(MacAlgorithm),
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encryption(algorithm) => algorithm.name(),
            Self::Signing(algorithm) => algorithm.name(),
            Self::Mac(algorithm) => algorithm.name(),
        }
    }
}

/// `RotationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RotationType {
    Automatic,
    OnDemand,
}

impl RotationType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

impl KeySpec {
    /// Whether this emulator has key material of the spec.
    pub(crate) fn is_available(self) -> bool {
        self != Self::Sm2
    }

    /// Whether keys of the spec encrypt data symmetrically.
    pub(crate) fn is_symmetric_encryption(self) -> bool {
        self == Self::SymmetricDefault
    }

    /// Whether keys of the spec have a private and a public part.
    pub(crate) fn is_pair(self) -> bool {
        !self.is_symmetric_encryption() && self.mac_algorithms().is_empty()
    }

    /// Whether making a key of the spec means to search for primes.
    pub(crate) fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }

    /// Whether a key of the spec can do what `algorithm` does.
    pub(crate) fn accepts(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Encryption(algorithm) => self.encryption_algorithms().contains(&algorithm),
            Algorithm::Signing(algorithm) => self.signing_algorithms().contains(&algorithm),
            Algorithm::Mac(algorithm) => self.mac_algorithms().contains(&algorithm),
        }
    }

    /// The usages that `CreateKey` accepts with the spec.
    pub(crate) fn usages(self) -> &'static [KeyUsage] {
        use KeyUsage::{
            EncapsulateDecapsulate, EncryptDecrypt, GenerateVerifyMac, KeyAgreement, SignVerify,
        };
        match self {
            Self::SymmetricDefault => &[EncryptDecrypt],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[EncryptDecrypt, SignVerify],
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 => {
                &[SignVerify, KeyAgreement]
            }
            Self::EccSecgP256k1 | Self::EccNistEdwards25519 => &[SignVerify],
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[GenerateVerifyMac],
            Self::Sm2 => &[EncryptDecrypt, SignVerify, KeyAgreement],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[SignVerify],
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[EncapsulateDecapsulate],
        }
    }

    /// The encryption algorithms of the spec under `ENCRYPT_DECRYPT`.
    pub(crate) fn encryption_algorithms(self) -> &'static [EncryptionAlgorithm] {
        use EncryptionAlgorithm::{RsaesOaepSha1, RsaesOaepSha256, Sm2Pke, SymmetricDefault};
        match self {
            Self::SymmetricDefault => &[SymmetricDefault],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[RsaesOaepSha1, RsaesOaepSha256],
            Self::Sm2 => &[Sm2Pke],
            _ => &[],
        }
    }

    /// The signing algorithms of the spec under `SIGN_VERIFY`.
    pub(crate) fn signing_algorithms(self) -> &'static [SigningAlgorithm] {
        use SigningAlgorithm as A;
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[
                A::RsaPkcs1Sha256,
                A::RsaPkcs1Sha384,
                A::RsaPkcs1Sha512,
                A::RsaPssSha256,
                A::RsaPssSha384,
                A::RsaPssSha512,
            ],
            Self::EccNistP256 | Self::EccSecgP256k1 => &[A::EcdsaSha256],
            Self::EccNistP384 => &[A::EcdsaSha384],
            Self::EccNistP521 => &[A::EcdsaSha512],
            Self::EccNistEdwards25519 => &[A::Ed25519Sha512, A::Ed25519PhSha512],
            Self::Sm2 => &[A::Sm2Dsa],
            Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => &[A::MlDsaShake256],
            Self::SymmetricDefault
            | Self::Hmac224
            | Self::Hmac256
            | Self::Hmac384
            | Self::Hmac512
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024 => &[],
        }
    }

    /// The MAC algorithms of the spec under `GENERATE_VERIFY_MAC`.
    pub(crate) fn mac_algorithms(self) -> &'static [MacAlgorithm] {
        match self {
            Self::Hmac224 => &[MacAlgorithm::HmacSha224],
            Self::Hmac256 => &[MacAlgorithm::HmacSha256],
            Self::Hmac384 => &[MacAlgorithm::HmacSha384],
            Self::Hmac512 => &[MacAlgorithm::HmacSha512],
            _ => &[],
        }
    }

    /// The member of `KeyMetadata` and of `GetPublicKey`'s answer that lists
    /// what a key of the spec does under `usage`, and that list.
    pub(crate) fn algorithms(self, usage: KeyUsage) -> (&'static str, Vec<&'static str>) {
        match usage {
            KeyUsage::EncryptDecrypt => (
                "EncryptionAlgorithms",
                self.encryption_algorithms()
                    .iter()
                    .map(|a| a.name())
                    .collect(),
            ),
            KeyUsage::SignVerify => (
                "SigningAlgorithms",
                self.signing_algorithms().iter().map(|a| a.name()).collect(),
            ),
            KeyUsage::GenerateVerifyMac => (
                "MacAlgorithms",
                self.mac_algorithms().iter().map(|a| a.name()).collect(),
            ),
            KeyUsage::KeyAgreement => (
                "KeyAgreementAlgorithms",
                vec![KeyAgreementAlgorithm::Ecdh.name()],
            ),
            KeyUsage::EncapsulateDecapsulate => (
                "EncapsulationAlgorithms",
                vec![EncapsulationAlgorithm::MlKem.name()],
            ),
        }
    }
}
