//! The calls that inputs of `kms-call` start from: all 56 operations, in the
//! order in which one makes sense after the other.
//!
//! A call is a line: who calls, if it is not the account's root user (`~` a role
//! of the account, `@` a role of another one), the operation, a space, the body.
//! `$2/A/B` is the text at `/A/B` in the reply to the second call. `KEY` is a
//! symmetric key that is there already, `RECIPIENT` an attested recipient.

/// Sequences whose calls take milliseconds at most.
pub(super) const QUICK: &[&str] = &[
    r#"CreateKey {"Description":"d","KeyUsage":"ENCRYPT_DECRYPT","KeySpec":"SYMMETRIC_DEFAULT","Origin":"AWS_KMS","BypassPolicyLockoutSafetyCheck":true,"Tags":[{"TagKey":"k","TagValue":"v"}]}
CreateAlias {"AliasName":"alias/other","TargetKeyId":"$1/KeyMetadata/KeyId"}
UpdateAlias {"AliasName":"alias/other","TargetKeyId":"KEY"}
ListAliases {"KeyId":"KEY","Limit":1}
DeleteAlias {"AliasName":"alias/other"}"#,
    r#"DescribeKey {"KeyId":"alias/fuzz","GrantTokens":[]}
UpdateKeyDescription {"KeyId":"KEY","Description":"new"}
CreateKey {}
ListKeys {"Limit":1}
ListKeys {"Limit":1,"Marker":"$4/NextMarker"}
ListKeyPolicies {"KeyId":"KEY","Limit":1}
GetKeyLastUsage {"KeyId":"KEY"}"#,
    r#"ScheduleKeyDeletion {"KeyId":"KEY","PendingWindowInDays":7}
CancelKeyDeletion {"KeyId":"KEY"}
EnableKey {"KeyId":"KEY"}
DisableKey {"KeyId":"KEY"}"#,
    r#"PutKeyPolicy {"KeyId":"KEY","PolicyName":"default","BypassPolicyLockoutSafetyCheck":true,"Policy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"*\"},\"Action\":\"kms:*\",\"Resource\":\"*\",\"Condition\":{\"StringEquals\":{\"kms:CallerAccount\":\"123456789012\"}}}]}"}
GetKeyPolicy {"KeyId":"KEY","PolicyName":"default"}
~Encrypt {"KeyId":"KEY","Plaintext":"AAAA"}
@Encrypt {"KeyId":"arn:aws:kms:us-east-1:123456789012:key/KEY","Plaintext":"AAAA"}"#,
    r#"EnableKeyRotation {"KeyId":"KEY","RotationPeriodInDays":90}
GetKeyRotationStatus {"KeyId":"KEY"}
RotateKeyOnDemand {"KeyId":"KEY"}
ListKeyRotations {"KeyId":"KEY","IncludeKeyMaterial":"ALL_KEY_MATERIAL","Limit":1}
DisableKeyRotation {"KeyId":"KEY"}"#,
    r#"Encrypt {"KeyId":"KEY","Plaintext":"AAAA","EncryptionContext":{"a":"b"},"EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}
Decrypt {"CiphertextBlob":"$1/CiphertextBlob","EncryptionContext":{"a":"b"},"KeyId":"KEY"}
Decrypt {"CiphertextBlob":"$1/CiphertextBlob","EncryptionContext":{"a":"b"},"DryRun":true}
ReEncrypt {"CiphertextBlob":"$1/CiphertextBlob","SourceEncryptionContext":{"a":"b"},"DestinationKeyId":"KEY","DestinationEncryptionContext":{"c":"d"}}
Decrypt {"CiphertextBlob":"$4/CiphertextBlob","EncryptionContext":{"c":"d"}}"#,
    r#"GenerateDataKey {"KeyId":"KEY","KeySpec":"AES_256"}
GenerateDataKeyWithoutPlaintext {"KeyId":"KEY","NumberOfBytes":64}
GenerateDataKeyPair {"KeyId":"KEY","KeyPairSpec":"ECC_NIST_P256"}
GenerateDataKeyPairWithoutPlaintext {"KeyId":"KEY","KeyPairSpec":"ECC_NIST_EDWARDS25519"}
Decrypt {"CiphertextBlob":"$3/PrivateKeyCiphertextBlob"}
GenerateRandom {"NumberOfBytes":32}"#,
    r#"GenerateDataKey {"KeyId":"KEY","KeySpec":"AES_256","Recipient":RECIPIENT}
Decrypt {"CiphertextBlob":"$1/CiphertextBlob","Recipient":RECIPIENT}"#,
    r#"GenerateDataKeyPair {"KeyId":"KEY","KeyPairSpec":"ECC_SECG_P256K1","Recipient":RECIPIENT}
GenerateRandom {"NumberOfBytes":32,"Recipient":RECIPIENT}"#,
    r#"CreateKey {"KeyUsage":"KEY_AGREEMENT","KeySpec":"ECC_NIST_P384"}
GetPublicKey {"KeyId":"$1/KeyMetadata/KeyId"}
DeriveSharedSecret {"KeyId":"$1/KeyMetadata/KeyId","KeyAgreementAlgorithm":"ECDH","PublicKey":"$2/PublicKey"}
DeriveSharedSecret {"KeyId":"$1/KeyMetadata/KeyId","KeyAgreementAlgorithm":"ECDH","PublicKey":"$2/PublicKey","Recipient":RECIPIENT}"#,
    r#"CreateKey {"KeyUsage":"SIGN_VERIFY","KeySpec":"ECC_NIST_P256"}
Sign {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","MessageType":"RAW","SigningAlgorithm":"ECDSA_SHA_256"}
Verify {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","Signature":"$2/Signature","SigningAlgorithm":"ECDSA_SHA_256"}
Sign {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","MessageType":"DIGEST","SigningAlgorithm":"ECDSA_SHA_256"}"#,
    r#"CreateKey {"KeyUsage":"SIGN_VERIFY","KeySpec":"ML_DSA_44"}
Sign {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","SigningAlgorithm":"ML_DSA_SHAKE_256"}
Verify {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","Signature":"$2/Signature","SigningAlgorithm":"ML_DSA_SHAKE_256"}"#,
    r#"CreateKey {"KeyUsage":"GENERATE_VERIFY_MAC","KeySpec":"HMAC_256"}
GenerateMac {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","MacAlgorithm":"HMAC_SHA_256"}
VerifyMac {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","MacAlgorithm":"HMAC_SHA_256","Mac":"$2/Mac","DryRun":true}
VerifyMac {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","MacAlgorithm":"HMAC_SHA_256","Mac":"$2/Mac"}"#,
    r#"CreateKey {"KeyUsage":"ENCAPSULATE_DECAPSULATE","KeySpec":"ML_KEM_768"}
Encapsulate {"KeyId":"$1/KeyMetadata/KeyId","EncapsulationAlgorithm":"ML_KEM"}
Decapsulate {"KeyId":"$1/KeyMetadata/KeyId","EncapsulationAlgorithm":"ML_KEM","SharedSecretCiphertextBlob":"$2/SharedSecretCiphertextBlob"}"#,
    r#"TagResource {"KeyId":"KEY","Tags":[{"TagKey":"k","TagValue":"v"}]}
ListResourceTags {"KeyId":"KEY","Limit":1}
UntagResource {"KeyId":"KEY","TagKeys":["k"]}"#,
    r#"CreateGrant {"KeyId":"KEY","GranteePrincipal":"arn:aws:iam::123456789012:role/R","RetiringPrincipal":"arn:aws:iam::123456789012:role/R","Operations":["Decrypt","Encrypt","CreateGrant","DescribeKey"],"Constraints":{"EncryptionContextSubset":{"a":"b"}},"Name":"n"}
~Encrypt {"KeyId":"KEY","Plaintext":"AAAA","EncryptionContext":{"a":"b","c":"d"},"GrantTokens":["$1/GrantToken"]}
~CreateGrant {"KeyId":"KEY","GranteePrincipal":"arn:aws:iam::999999999999:root","Operations":["Decrypt"],"Constraints":{"EncryptionContextEquals":{"a":"b"}},"GrantTokens":["$1/GrantToken"]}
ListGrants {"KeyId":"KEY","Limit":1,"GranteePrincipal":"arn:aws:iam::123456789012:role/R"}
ListRetirableGrants {"RetiringPrincipal":"arn:aws:iam::123456789012:role/R","Limit":1}
~RetireGrant {"GrantToken":"$1/GrantToken"}
RevokeGrant {"KeyId":"KEY","GrantId":"$3/GrantId"}"#,
    r#"CreateKey {"MultiRegion":true}
ReplicateKey {"KeyId":"$1/KeyMetadata/KeyId","ReplicaRegion":"eu-west-1","Description":"d","Tags":[{"TagKey":"k","TagValue":"v"}]}
UpdatePrimaryRegion {"KeyId":"$1/KeyMetadata/KeyId","PrimaryRegion":"eu-west-1"}
DescribeKey {"KeyId":"$2/ReplicaKeyMetadata/Arn"}
ScheduleKeyDeletion {"KeyId":"$1/KeyMetadata/KeyId"}"#,
    r#"CreateKey {"Origin":"EXTERNAL"}
ImportKeyMaterial {"KeyId":"$1/KeyMetadata/KeyId","ImportToken":"AAAA","EncryptedKeyMaterial":"AAAA","ExpirationModel":"KEY_MATERIAL_EXPIRES","ValidTo":1767312000,"ImportType":"NEW_KEY_MATERIAL","KeyMaterialDescription":"d"}
DeleteImportedKeyMaterial {"KeyId":"$1/KeyMetadata/KeyId"}
Encrypt {"KeyId":"$1/KeyMetadata/KeyId","Plaintext":"AAAA"}"#,
    r#"CreateCustomKeyStore {"CustomKeyStoreName":"s","CustomKeyStoreType":"AWS_CLOUDHSM","CloudHsmClusterId":"cluster-abcdefghijk","TrustAnchorCertificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----","KeyStorePassword":"password1"}
ConnectCustomKeyStore {"CustomKeyStoreId":"$1/CustomKeyStoreId"}
CreateKey {"Origin":"AWS_CLOUDHSM","CustomKeyStoreId":"$1/CustomKeyStoreId"}
DescribeCustomKeyStores {"CustomKeyStoreId":"$1/CustomKeyStoreId","Limit":1}
DisconnectCustomKeyStore {"CustomKeyStoreId":"$1/CustomKeyStoreId"}
UpdateCustomKeyStore {"CustomKeyStoreId":"$1/CustomKeyStoreId","NewCustomKeyStoreName":"t","KeyStorePassword":"password2"}
DeleteCustomKeyStore {"CustomKeyStoreId":"$1/CustomKeyStoreId"}"#,
];

/// Sequences that make RSA keys, which take a tenth of a second.
pub(super) const SLOW: &[&str] = &[
    r#"CreateKey {"KeySpec":"RSA_2048","KeyUsage":"ENCRYPT_DECRYPT"}
Encrypt {"KeyId":"$1/KeyMetadata/KeyId","Plaintext":"AAAA","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}
Decrypt {"KeyId":"$1/KeyMetadata/KeyId","CiphertextBlob":"$2/CiphertextBlob","EncryptionAlgorithm":"RSAES_OAEP_SHA_256"}
Decrypt {"KeyId":"$1/KeyMetadata/KeyId","CiphertextBlob":"$2/CiphertextBlob","EncryptionAlgorithm":"RSAES_OAEP_SHA_256","Recipient":RECIPIENT}"#,
    r#"CreateKey {"KeySpec":"RSA_2048","KeyUsage":"SIGN_VERIFY"}
Sign {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","SigningAlgorithm":"RSASSA_PSS_SHA_256"}
Verify {"KeyId":"$1/KeyMetadata/KeyId","Message":"AAAA","Signature":"$2/Signature","SigningAlgorithm":"RSASSA_PSS_SHA_256"}"#,
    r#"CreateKey {"Origin":"EXTERNAL"}
GetParametersForImport {"KeyId":"$1/KeyMetadata/KeyId","WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048"}
ImportKeyMaterial {"KeyId":"$1/KeyMetadata/KeyId","ImportToken":"$2/ImportToken","EncryptedKeyMaterial":"AAAA","ExpirationModel":"KEY_MATERIAL_DOES_NOT_EXPIRE"}"#,
    r#"CreateCustomKeyStore {"CustomKeyStoreName":"x","CustomKeyStoreType":"EXTERNAL_KEY_STORE","XksProxyUriEndpoint":"http://127.0.0.1:1","XksProxyUriPath":"/kms/xks/v1","XksProxyConnectivity":"PUBLIC_ENDPOINT","XksProxyAuthenticationCredential":{"AccessKeyId":"ABCDEFGHIJKLMNOPQRST","RawSecretAccessKey":"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK"}}
ConnectCustomKeyStore {"CustomKeyStoreId":"$1/CustomKeyStoreId"}
CreateKey {"Origin":"EXTERNAL_KEY_STORE","CustomKeyStoreId":"$1/CustomKeyStoreId","XksKeyId":"k"}"#,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_56_operations_are_called() {
        let called: BTreeSet<&str> = QUICK
            .iter()
            .chain(SLOW)
            .flat_map(|calls| calls.lines())
            .filter_map(|call| call.split(' ').next())
            .map(|name| name.trim_start_matches(['~', '@']))
            .collect();
        assert_eq!(called.len(), 56, "{called:?}");
    }
}
