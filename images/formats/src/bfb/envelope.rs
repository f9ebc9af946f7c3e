//! A manifest with the signature over it: a DSSE envelope, of which the payload is exactly what is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::manifest::hex;
use super::{Manifest, ManifestError};

/// What the payload is.
const PAYLOAD_TYPE: &str = "application/vnd.nic-agent.bfb+json";

/// Why text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No private key.
    #[error("no private Ed25519 key in PEM form (PKCS#8): {0}")]
    Private(String),
    /// No public key.
    #[error("no public Ed25519 key in PEM form: {0}")]
    Public(String),
}

/// A key that signs manifests.
#[derive(Debug)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// From PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// If it is no such key.
    pub fn from_pem(text: &str) -> Result<PrivateKey, KeyError> {
        let key = SigningKey::from_pkcs8_pem(text);
        key.map(PrivateKey).map_err(|error| KeyError::Private(error.to_string()))
    }

    /// The other half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

/// A key that says whether a signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// If it is no such key.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_public_key_pem(text);
        key.map(PublicKey).map_err(|error| KeyError::Public(error.to_string()))
    }

    /// What it is called: the SHA-256 of its 32 bytes.
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Signed {
    keyid: String,
    sig: String,
}

/// Why a manifest is not believed, or was not made.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No envelope at all: a maker's own stream has other text in its place.
    #[error("the info image is none of ours: no envelope with a manifest of {PAYLOAD_TYPE}")]
    NotOurs,
    /// Nobody signed it.
    #[error("the manifest is not signed")]
    Unsigned,
    /// Others signed it.
    #[error("the manifest is signed by {signers}, not by the key {wanted}")]
    OtherKey {
        /// Their ids.
        signers: String,
        /// The key's.
        wanted: String,
    },
    /// The signature is wrong.
    #[error("the signature by the key {0} is wrong: the manifest was changed")]
    Wrong(String),
    /// What is in it is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// What is signed: the payload together with what it is, so that it cannot be taken for something else.
fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// A manifest as the bytes of the image [`INFO`](super::ImageId::INFO), signed if there is a key.
///
/// # Errors
/// If its version is none.
pub fn seal(manifest: &Manifest, key: Option<&PrivateKey>) -> Result<Vec<u8>, SealError> {
    let payload = manifest.encode()?;
    let signature = |key: &PrivateKey| Signed {
        keyid: key.public().id(),
        sig: BASE64.encode(key.0.sign(&signed_bytes(&payload)).to_bytes()),
    };
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.into(),
        signatures: key.map(signature).into_iter().collect(),
        payload: BASE64.encode(&payload),
    };
    serde_json::to_vec(&envelope).map_err(|error| SealError::Manifest(ManifestError::Form(error)))
}

/// The manifest in the bytes of the image [`INFO`](super::ImageId::INFO), if this key signed it; whoever
/// signed it if there is no key.
///
/// # Errors
/// If it is no manifest, or the signature is missing, another's or wrong.
pub fn unseal(bytes: &[u8], key: Option<&PublicKey>) -> Result<Manifest, SealError> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|_| SealError::NotOurs)?;
    let payload = BASE64.decode(&envelope.payload).map_err(|_| SealError::NotOurs)?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(SealError::NotOurs);
    }
    if let Some(key) = key {
        verify(&envelope.signatures, &payload, key)?;
    }
    Ok(Manifest::parse(&payload)?)
}

fn verify(signatures: &[Signed], payload: &[u8], key: &PublicKey) -> Result<(), SealError> {
    let wanted = key.id();
    let Some(signed) = signatures.iter().find(|signed| signed.keyid == wanted) else {
        let signers: Vec<String> =
            signatures.iter().map(|signed| format!("{:.64}", signed.keyid.escape_debug())).collect();
        let signers = signers.join(", ");
        return Err(if signers.is_empty() {
            SealError::Unsigned
        } else {
            SealError::OtherKey { signers, wanted }
        });
    };
    let good = BASE64
        .decode(&signed.sig)
        .ok()
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .is_some_and(|signature| key.0.verify_strict(&signed_bytes(payload), &signature).is_ok());
    if good { Ok(()) } else { Err(SealError::Wrong(wanted)) }
}
