//! What is not this authority's own certificate, byte for byte, is not believed.

use host_fleet::identity::{Authority, AuthorityCertificate, CertificateRefusal, Kind, PrivateKey, Subject};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType, SerialNumber,
};

use crate::world::{NOW, YEAR, name};

fn authority() -> Authority {
    Authority::generate(NOW).expect("an authority")
}

/// Somebody's own certificate and authority, in the names of a fleet's.
struct Forger {
    issuer: Issuer<'static, KeyPair>,
    authority: AuthorityCertificate,
}

impl Forger {
    fn of(fleet: &Authority) -> Self {
        let mut params = params(&format!("hotswap fleet {}", fleet.fleet()));
        params.subject_alt_names = vec![uri(&format!("spiffe://{}.hotswap", fleet.fleet()))];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let authority = AuthorityCertificate::read(certificate.der()).expect("looks like one");
        Self { issuer: Issuer::new(params, key), authority }
    }

    fn sign(&self, uris: &[String]) -> Vec<u8> {
        let mut params = params("host web-1");
        params.subject_alt_names = uris.iter().map(|text| uri(text)).collect();
        let key = KeyPair::generate().expect("a key");
        params.signed_by(&key, &self.issuer).expect("signed").der().to_vec()
    }
}

fn params(called: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, called);
    params.serial_number = Some(SerialNumber::from_slice(&[0x42; 16]));
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

#[test]
fn a_certificate_changed_anywhere_is_refused() {
    let authority = authority();
    let certificate = authority.identity(Kind::Host, name("web-1"), NOW).expect("an identity").certificate().to_vec();
    let trusted = authority.certificate();
    trusted.verify(&certificate, NOW).expect("as it was made");
    for at in 0..certificate.len() {
        for bit in 0..8 {
            let mut changed = certificate.clone();
            changed[at] ^= 1 << bit;
            assert!(trusted.verify(&changed, NOW).is_err(), "bit {bit} of byte {at}");
        }
        assert!(trusted.verify(&certificate[..at], NOW).is_err(), "the first {at} bytes");
    }
    let longer = [certificate.as_slice(), &[0]].concat();
    assert_eq!(trusted.verify(&longer, NOW), Err(CertificateRefusal::Unreadable));
}

#[test]
fn an_authority_made_anew_under_the_fleets_names_is_not_the_fleets() {
    let fleet = authority();
    let forger = Forger::of(&fleet);
    let subject = Subject { fleet: fleet.fleet(), kind: Kind::Host, name: name("web-1") };
    let forged = forger.sign(&[subject.uri()]);
    forger.authority.verify(&forged, NOW).expect("sound, for who trusts the forger");
    assert_eq!(fleet.certificate().verify(&forged, NOW), Err(CertificateRefusal::Forged { subject }));
    assert_ne!(forger.authority.key(), fleet.certificate().key());
}

#[test]
fn a_certificate_that_names_two_members_names_nobody() {
    let fleet = authority();
    let forger = Forger::of(&fleet);
    let uris: Vec<_> = ["web-1", "web-2"]
        .into_iter()
        .map(|called| Subject { fleet: fleet.fleet(), kind: Kind::Host, name: name(called) }.uri())
        .collect();
    for uris in [&uris[..], &[]] {
        assert_eq!(forger.authority.verify(&forger.sign(uris), NOW), Err(CertificateRefusal::NotOfAFleet));
    }
}

#[test]
fn an_authority_speaks_for_its_own_fleet_only() {
    let (fleet, other) = (authority(), authority());
    let forger = Forger::of(&fleet);
    let subject = Subject { fleet: other.fleet(), kind: Kind::Host, name: name("web-1") };
    let refusal = forger.authority.verify(&forger.sign(&[subject.uri()]), NOW).expect_err("another fleet's name");
    assert_eq!(refusal, CertificateRefusal::OtherFleet { subject, ours: fleet.fleet() });
}

#[test]
fn a_member_is_no_authority() {
    let fleet = authority();
    let member = fleet.identity(Kind::Host, name("web-1"), NOW).expect("an identity");
    let refusal = AuthorityCertificate::read(member.certificate()).expect_err("a member's");
    assert_eq!(refusal, CertificateRefusal::NotOfAFleet);
}

#[test]
fn a_certificate_is_valid_from_a_little_before_it_was_made_to_its_end() {
    let fleet = authority();
    let member = fleet.identity(Kind::Operator, name("alice"), NOW).expect("an identity");
    let valid = |at| fleet.certificate().verify(member.certificate(), at).map(|member| member.until);
    let before = |hours: u64| host_core::time::UnixNanos(NOW.0 - hours * 3_600_000_000_000);
    let until = valid(NOW).expect("valid");
    assert_eq!(until, NOW.after(5 * YEAR));
    assert_eq!(valid(before(1)), Ok(until));
    assert!(matches!(valid(before(2)), Err(CertificateRefusal::NotYet { .. })));
    assert!(matches!(valid(until), Err(CertificateRefusal::Expired { .. })));
    // Whoever is signed near the authority's end ends with it.
    let late = fleet.identity(Kind::Host, name("web-1"), NOW.after(18 * YEAR)).expect("an identity");
    assert_eq!(late.member().until, NOW.after(20 * YEAR));
}

#[test]
fn what_a_certificate_says_of_its_key_is_the_keys_hash() {
    let fleet = authority();
    let key = PrivateKey::generate().expect("a key");
    let request = key.request(&name("web-1")).expect("a request");
    let request = host_fleet::identity::CertificateRequest::check(&request).expect("sound");
    let certificate = fleet.sign(&request, host_fleet::identity::Joiner::Host, NOW).expect("signed");
    let member = fleet.certificate().verify(&certificate, NOW).expect("believed");
    assert_eq!(member.key, key.hash());
}
