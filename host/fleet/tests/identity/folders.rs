//! What lies on disk: made once, readable by its owner, and told apart when it is damaged.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use host_fleet::identity::{
    Authority, AuthorityError, CoordinatorAddress, Folder, FolderError, Kind,
    authority::{self, operator_folder},
};

use crate::world::{NOW, YEAR, name};

fn address() -> CoordinatorAddress {
    "https://127.0.0.1:7443".parse().expect("an address")
}

fn init(data: &Path) -> Result<Authority, AuthorityError> {
    authority::init(data, name("alice"), &address(), NOW)
}

#[test]
fn a_fleet_is_made_once_and_found_again_with_its_operator() {
    let data = tempfile::tempdir().expect("a folder");
    let made = init(data.path()).expect("made");
    let found = Authority::load(data.path()).expect("found");
    assert_eq!((found.fleet(), found.certificate().key()), (made.fleet(), made.certificate().key()));

    let folder = operator_folder(data.path());
    let operator = folder.load(NOW).expect("an operator");
    assert_eq!(operator.member().subject.to_string(), "operator alice");
    assert_eq!(folder.coordinator().expect("an address"), address());
    // What is found signs as what was made.
    let host = found.identity(Kind::Host, name("web-1"), NOW).expect("an identity");
    made.certificate().verify(host.certificate(), NOW).expect("believed");

    let again = init(data.path()).expect_err("there is one");
    assert!(matches!(again, AuthorityError::Exists { .. }), "{again:?}");
    assert!(again.to_string().contains("nothing was changed"), "{again}");
    let kept = Authority::load(data.path()).expect("kept");
    assert_eq!(kept.certificate().key(), made.certificate().key());
}

#[test]
fn everything_is_its_owners_alone_and_nothing_is_left_beside_it() {
    let data = tempfile::tempdir().expect("a folder");
    init(data.path()).expect("made");
    let mut files = 0;
    let mut folders = vec![data.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert!(!path.to_string_lossy().ends_with(".new"), "{}", path.display());
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                folders.push(path);
            } else {
                assert_eq!(mode, 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    assert_eq!(files, 2 + 4);
}

#[test]
fn a_fleet_that_is_not_there_exposed_or_damaged_says_so() {
    let data = tempfile::tempdir().expect("a folder");
    let missing = Authority::load(data.path()).expect_err("nothing there");
    assert!(missing.to_string().contains("host fleet init"), "{missing}");

    init(data.path()).expect("made");
    let key = data.path().join("identity/authority/key.der");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened up");
    let exposed = Authority::load(data.path()).expect_err("exposed");
    assert!(exposed.to_string().contains("mode 644"), "{exposed}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");

    let other = tempfile::tempdir().expect("a folder");
    init(other.path()).expect("made");
    fs::copy(other.path().join("identity/authority/key.der"), &key).expect("mixed up");
    let mixed = Authority::load(data.path()).expect_err("damaged");
    assert!(matches!(mixed, AuthorityError::Damaged { .. }), "{mixed:?}");
}

#[test]
fn a_fleet_that_can_not_be_written_leaves_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("file");
    fs::write(&file, "in the way").expect("written");
    let error = init(&file).expect_err("no folder");
    assert!(matches!(error, AuthorityError::Io { .. }), "{error:?}");
    assert_eq!(fs::read_dir(data.path()).expect("a folder").count(), 1);
}

#[test]
fn an_identity_says_what_is_wrong_with_it_and_what_to_do() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(data.path().join("fleet"));
    let words = |folder: &Folder, at| folder.load(at).expect_err("unusable").to_string();
    assert!(words(&folder, NOW).contains("join a fleet first"));
    assert!(!folder.path().exists(), "looking makes nothing");

    // A key alone is somebody who has not joined yet, and stays the same key.
    let key = folder.key().expect("made").hash();
    assert_eq!(folder.key().expect("found").hash(), key);
    assert!(words(&folder, NOW).contains("join a fleet first"));

    let authority = Authority::generate(NOW).expect("an authority");
    let host = authority.identity(Kind::Host, name("web-1"), NOW).expect("an identity");
    folder.save(&host, &address()).expect("saved");
    assert_eq!(folder.load(NOW).expect("found").member(), host.member());
    let expired = words(&folder, NOW.after(6 * YEAR));
    assert!(expired.contains("expired at 2032-") && expired.contains("join again"), "{expired}");

    let moved: CoordinatorAddress = "https://fleet.example:9".parse().expect("an address");
    folder.set_coordinator(&moved).expect("written");
    assert_eq!(folder.coordinator().expect("an address"), moved);

    for file in ["key.der", "authority.der", "certificate.der"] {
        folder.save(&host, &address()).expect("saved");
        fs::write(folder.path().join(file), "x").expect("damaged");
        let error = folder.load(NOW).expect_err("damaged");
        assert!(matches!(&error, FolderError::Damaged { file: named, .. } if named.ends_with(file)), "{error:?}");
    }
    folder.save(&host, &address()).expect("saved");
    fs::remove_file(folder.path().join("key.der")).expect("removed");
    assert!(words(&folder, NOW).contains("damaged"), "no key is made in the place of one that is gone");
    assert!(!folder.path().join("key.der").exists());
}
