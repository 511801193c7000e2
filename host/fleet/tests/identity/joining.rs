//! Joining, and all the ways in which it is refused.

use host_fleet::{
    identity::{Folder, JoinToken, Joiner, Kind, LabelRule},
    join::{JoinError, Joined},
};
use tempfile::TempDir;

use crate::world::{Fleet, HOUR, NOW, labels};

fn folder() -> (TempDir, Folder) {
    let directory = tempfile::tempdir().expect("a folder");
    let folder = Folder::new(directory.path().join("fleet"));
    (directory, folder)
}

#[track_caller]
fn refused(answer: Result<Joined, JoinError>, words: &str) {
    let error = answer.expect_err(words);
    assert!(matches!(error, JoinError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_host_joins_with_a_token_and_is_known_from_then_on() {
    let fleet = Fleet::start().await;
    let token = fleet.token(2, LabelRule::Only(labels(&["region=eu", "zone=a"])));
    let (_directory, folder) = folder();
    let joined = fleet.join(&folder, &token, "web-1", &["region=eu"]).await.expect("joined");
    assert!(matches!(joined, Joined::Now(_)));
    assert_eq!(fleet.book.uses_left(&token), 1);

    let identity = folder.load(NOW).expect("kept");
    assert_eq!(folder.coordinator().expect("kept"), fleet.address);
    let member = identity.member();
    assert_eq!(fleet.ask(Some(&identity)).await.expect("known"), format!("host web-1 {}", member.serial));

    // The same command at the next start takes nothing and asks nobody.
    fleet.hands.set(NOW.after(2 * HOUR));
    let again = fleet.join(&folder, &token, "web-1", &[]).await.expect("a member");
    assert!(matches!(&again, Joined::Before(before) if before.member() == member));
    assert_eq!(fleet.book.uses_left(&token), 1);
}

#[tokio::test]
async fn an_operator_joins_as_an_operator_and_gets_no_hosts_answers() {
    let fleet = Fleet::start().await;
    let token = fleet.token_for(Joiner::Operator, 1, LabelRule::Any);
    let (_directory, folder) = folder();
    let identity = fleet.join(&folder, &token, "alice", &[]).await.expect("joined").into_identity();
    assert_eq!(identity.member().subject.kind, Kind::Operator);
    let refusal = fleet.ask(Some(&identity)).await.expect_err("no host");
    assert!(refusal.message().contains("that of operator alice; here a host is wanted"), "{refusal}");
}

#[tokio::test]
async fn each_reason_not_to_let_somebody_in_reaches_it_in_words() {
    let fleet = Fleet::start().await;
    let key = fleet.authority.certificate().key();
    let (_directory, folder) = folder();

    let unknown = JoinToken::generate(key).expect("a token");
    refused(fleet.join(&folder, &unknown, "web-1", &[]).await, "there is no join token");

    let token = fleet.token(1, LabelRule::Only(labels(&["region=eu"])));
    let text = token.to_string();
    let guess = format!("{}{}{}", &text[..17], "0".repeat(32), &text[49..]).parse().expect("a token");
    refused(fleet.join(&folder, &guess, "web-1", &[]).await, "secret");
    refused(fleet.join(&folder, &token, "web-1", &["region=us"]).await, "does not allow the label region=us");
    assert_eq!(fleet.book.uses_left(&token), 1, "refusals take no use");

    fleet.hands.set(NOW.after(HOUR));
    refused(fleet.join(&folder, &token, "web-1", &[]).await, "expired at");
    fleet.hands.set(NOW);
    fleet.join(&folder, &token, "web-1", &["region=eu"]).await.expect("joined, after all");

    let (_other_directory, other) = self::folder();
    refused(fleet.join(&other, &token, "web-2", &[]).await, "used up");
}

#[tokio::test]
async fn a_name_taken_by_another_key_is_refused_and_the_token_stays_good() {
    let fleet = Fleet::start().await;
    let token = fleet.token(2, LabelRule::Any);
    let (_first_directory, first) = folder();
    fleet.join(&first, &token, "web-1", &[]).await.expect("joined");
    let (_second_directory, second) = folder();
    refused(fleet.join(&second, &token, "web-1", &[]).await, "web-1 belongs to a host that joined with another key");
    fleet.join(&second, &token, "web-2", &[]).await.expect("joined under a name of its own");
}

#[tokio::test]
async fn a_joiner_that_lost_its_answer_asks_again_for_nothing() {
    let fleet = Fleet::start().await;
    let token = fleet.token(1, LabelRule::Any);
    let (_directory, folder) = folder();
    let first = fleet.join(&folder, &token, "web-1", &[]).await.expect("joined").into_identity();
    std::fs::remove_file(folder.path().join("certificate.der")).expect("as if it had never come");
    let second = fleet.join(&folder, &token, "web-1", &[]).await.expect("joined").into_identity();
    assert_eq!(second.member().key, first.member().key);
    assert_ne!(second.member().serial, first.member().serial);
}

#[tokio::test]
async fn of_two_joiners_that_want_the_last_use_one_is_let_in() {
    let fleet = Fleet::start().await;
    let token = fleet.token(1, LabelRule::Any);
    let (_one_directory, one) = folder();
    let (_other_directory, other) = folder();
    let answers = tokio::join!(fleet.join(&one, &token, "web-1", &[]), fleet.join(&other, &token, "web-2", &[]));
    assert!(answers.0.is_ok() != answers.1.is_ok(), "{answers:?}");
}

#[tokio::test]
async fn a_token_of_another_fleet_is_shown_to_nobody() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let token = other.token(1, LabelRule::Any);
    let (_directory, folder) = folder();
    let error = fleet.join(&folder, &token, "web-1", &[]).await.expect_err("another fleet");
    assert!(matches!(&error, JoinError::Connect(_)), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("another fleet") && words.contains(&fleet.authority.fleet().to_string()), "{words}");
}

#[tokio::test]
async fn a_member_does_not_become_another_one_by_mistake() {
    let (fleet, other) = (Fleet::start().await, Fleet::start().await);
    let token = fleet.token(2, LabelRule::Any);
    let (_directory, folder) = folder();
    fleet.join(&folder, &token, "web-1", &[]).await.expect("joined");
    let renamed = fleet.join(&folder, &token, "web-2", &[]).await.expect_err("another name");
    assert!(matches!(renamed, JoinError::OtherName { .. }), "{renamed:?}");
    let moved = other.join(&folder, &other.token(1, LabelRule::Any), "web-1", &[]).await.expect_err("another fleet");
    assert!(matches!(moved, JoinError::OtherFleet { .. }), "{moved:?}");
    assert_eq!(fleet.book.uses_left(&token), 1);
    fleet.ask(Some(&folder.load(NOW).expect("unchanged"))).await.expect("still known");
}
