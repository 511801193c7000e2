//! A member's key, and the request to have it signed.
//!
//! The key is made where it is used and stays there; the request (PKCS #10) carries the public half and the wanted name,
//! signed with the key, which shows that whoever asks holds it.

use std::fmt;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, DnValue, KeyPair,
    PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData as _,
};
use rustls::pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{certificate::KeyHash, subject::SubjectName};

/// Longest request that is looked at; one of ours has about 300 bytes.
pub const REQUEST_LIMIT_BYTES: usize = 4 << 10;

/// An uncompressed point on P-256: a tag and two coordinates.
const POINT_BYTES: usize = 65;

/// A private key (ECDSA on P-256). It shows itself to nobody.
pub struct PrivateKey(KeyPair);

/// A key can't be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The library says so.
    #[error("the key can't be made or used")]
    Unusable(#[from] rcgen::Error),
}

impl PrivateKey {
    /// A new one.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// Reads one from PKCS #8.
    ///
    /// # Errors
    /// When it is none, or of another algorithm.
    pub fn read(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8);
        Ok(Self(KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)?))
    }

    /// The hash of its public half.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0.subject_public_key_info())
    }

    /// Asks for a certificate of this name.
    ///
    /// # Errors
    /// When the key can't sign.
    pub fn request(&self, name: &SubjectName) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = called(name.as_str());
        Ok(params.serialize_request(&self.0)?.der().to_vec())
    }

    /// As it is stored: PKCS #8.
    pub(super) fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }

    /// As TLS takes it.
    pub(crate) fn for_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    pub(super) const fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.hash())
    }
}

/// A name as certificates write it.
pub(super) fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
    called
}

/// A request that was checked: whoever made it holds the key, and wants this name.
///
/// Whether it may have the name is not decided here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    name: SubjectName,
    key: PublicKey,
}

/// A request that can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// Longer than any sound one.
    #[error("the certificate request is longer than {REQUEST_LIMIT_BYTES} bytes")]
    TooLong,
    /// It can't be read, or is not signed with the key it shows.
    #[error("the certificate request can't be read, or is not signed with the key that it shows")]
    Unproven(#[source] rcgen::Error),
    /// Not the one algorithm.
    #[error("the certificate request is for a key of another algorithm than ECDSA on P-256")]
    Algorithm,
    /// It names nobody.
    #[error("the certificate request names nobody who could join a fleet")]
    Nameless,
}

impl CertificateRequest {
    /// Reads and checks a request. Of what it asks for, only the key and the name are taken: kind, time and purpose are not
    /// the asker's to choose.
    ///
    /// # Errors
    /// When it is no request, or does not show that the asker holds the key.
    pub fn check(der: &[u8]) -> Result<Self, InvalidRequest> {
        if der.len() > REQUEST_LIMIT_BYTES {
            return Err(InvalidRequest::TooLong);
        }
        let der = CertificateSigningRequestDer::from(der);
        let request = CertificateSigningRequestParams::from_der(&der).map_err(InvalidRequest::Unproven)?;
        let key = request.public_key;
        // The same signature algorithm can go with another curve; a certificate would name the wrong one.
        let uncompressed = key.der_bytes().first() == Some(&4) && key.der_bytes().len() == POINT_BYTES;
        if *key.algorithm() != PKCS_ECDSA_P256_SHA256 || !uncompressed {
            return Err(InvalidRequest::Algorithm);
        }
        let name = match request.params.distinguished_name.get(&DnType::CommonName) {
            Some(DnValue::Utf8String(name)) => name.parse().map_err(|_| InvalidRequest::Nameless)?,
            _ => return Err(InvalidRequest::Nameless),
        };
        Ok(Self { name, key })
    }

    /// The wanted name.
    #[must_use]
    pub const fn name(&self) -> &SubjectName {
        &self.name
    }

    /// The hash of the key.
    #[must_use]
    pub fn key(&self) -> KeyHash {
        KeyHash::of(&self.key.subject_public_key_info())
    }

    pub(super) const fn public_key(&self) -> &PublicKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn name(text: &str) -> SubjectName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_request_shows_its_key_and_its_name() {
        let key = PrivateKey::generate().expect("a key");
        let der = key.request(&name("web-1")).expect("a request");
        let request = CertificateRequest::check(&der).expect("sound");
        assert_eq!((request.name(), request.key()), (&name("web-1"), key.hash()));
        let again = PrivateKey::read(key.pkcs8()).expect("read back");
        assert_eq!(again.hash(), key.hash());
        assert!(!format!("{again:?}").contains("serialized"), "a key shows itself to nobody");
    }

    #[test]
    fn a_request_changed_on_the_way_is_refused_or_says_the_same() {
        let der = PrivateKey::generate().expect("a key").request(&name("web-1")).expect("a request");
        let original = CertificateRequest::check(&der).expect("sound");
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1;
            // Beside what is signed, the reader overlooks some slips of the pen.
            if let Ok(read) = CertificateRequest::check(&changed) {
                assert_eq!(read, original, "byte {at} of {der:02x?}");
            }
        }
        for length in 0..der.len() {
            assert!(CertificateRequest::check(&der[..length]).is_err(), "the first {length} bytes");
        }
    }

    #[test]
    fn other_algorithms_names_and_sizes_are_refused() {
        let requested = |algorithm, name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = called(name);
            let key = KeyPair::generate_for(algorithm).expect("a key");
            CertificateRequest::check(params.serialize_request(&key).expect("a request").der())
        };
        for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
            assert!(matches!(requested(algorithm, "web-1"), Err(InvalidRequest::Algorithm)));
        }
        for bad in ["", "Web", "../x", "a b"] {
            assert!(matches!(requested(&PKCS_ECDSA_P256_SHA256, bad), Err(InvalidRequest::Nameless)), "{bad}");
        }
        let long = vec![0x30; REQUEST_LIMIT_BYTES + 1];
        assert!(matches!(CertificateRequest::check(&long), Err(InvalidRequest::TooLong)));
    }
}
