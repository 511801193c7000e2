use proptest::prelude::*;

use super::*;

const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn token() -> JoinToken {
    JoinToken::generate(KeyHash::of(b"a key")).expect("random bytes")
}

fn labels(text: &[&str]) -> Labels {
    let labels: Vec<Label> = text.iter().map(|label| label.parse().expect("a label")).collect();
    labels.try_into().expect("sound")
}

fn stored(token: &JoinToken, uses: u32, rule: LabelRule) -> StoredToken {
    StoredToken::new(token, Joiner::Host, uses.try_into().expect("some"), HOUR, rule, NOW).expect("sound terms")
}

#[test]
fn a_token_is_one_ascii_line_that_reads_back() {
    let token = token();
    let text = token.to_string();
    assert_eq!(text.len(), TOKEN_BYTES);
    assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.'), "{text}");
    let back: JoinToken = format!("  {text}\n").parse().expect("a token");
    assert_eq!(back.to_string(), text);
    assert_eq!((back.id(), back.authority()), (token.id(), token.authority()));
}

#[test]
fn a_token_shows_its_secret_only_when_it_is_written_out() {
    let token = token();
    let text = token.to_string();
    let secret = text.split('.').nth(1).expect("a secret");
    let kept = stored(&token, 1, LabelRule::Any);
    assert!(!format!("{token:?} {kept:?}").contains(secret));
    assert!(!serde_json::to_string(&kept).expect("written").contains(secret), "what is kept has no secret");
}

#[test]
fn a_damaged_token_is_refused_with_the_part_and_without_the_secret() {
    let text = token().to_string();
    let [id, secret, authority] = text.split('.').collect::<Vec<_>>().try_into().expect("three parts");
    for (bad, error) in [
        (String::new(), InvalidToken::Parts),
        (format!("{id}.{secret}"), InvalidToken::Parts),
        (format!("{text}.00"), InvalidToken::Parts),
        (format!("{}.{secret}.{authority}", &id[1..]), InvalidToken::Part("id")),
        (format!("{id}.{}.{authority}", &secret[2..]), InvalidToken::Part("secret")),
        (format!("{id}.{secret}.{}", &authority[..60]), InvalidToken::Part("authority")),
    ] {
        assert_eq!(bad.parse::<JoinToken>().expect_err(&bad), error);
        assert!(!error.to_string().contains(secret));
    }
}

#[test]
fn each_reason_to_refuse_a_token_has_its_words() {
    let token = token();
    let none = labels(&[]);
    let kept = stored(&token, 1, LabelRule::Only(labels(&["region=eu"])));
    let ask = |stored: Option<&StoredToken>, presented: &JoinToken, labels: &Labels, now| {
        admit(stored, presented, labels, now).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(ask(Some(&kept), &token, &none, NOW), Ok(Joiner::Host));
    assert_eq!(ask(Some(&kept), &token, &labels(&["region=eu"]), NOW), Ok(Joiner::Host));

    let refused = |answer: Result<Joiner, String>, word: &str| {
        let words = answer.expect_err(word);
        assert!(words.contains(word), "{words}");
    };
    refused(ask(None, &token, &none, NOW), "no join token");
    let mut guessed = token.clone();
    guessed.secret[15] ^= 1;
    refused(ask(Some(&kept), &guessed, &none, NOW), "secret");
    refused(ask(Some(&kept), &token, &none, NOW.after(HOUR)), "expired at 2027-01-15T09:00:00Z");
    refused(ask(Some(&kept), &token, &labels(&["region=us"]), NOW), "region=us; it allows region=eu");
    let bare = stored(&token, 1, LabelRule::Only(none.clone()));
    refused(ask(Some(&bare), &token, &labels(&["a=b"]), NOW), "it allows none");
    let used_up = StoredToken { uses_left: 0, ..kept };
    refused(ask(Some(&used_up), &token, &none, NOW), "used up");
    // Who does not know the secret learns nothing else of the token.
    refused(ask(Some(&used_up), &guessed, &none, NOW.after(HOUR)), "secret");
}

#[test]
fn a_token_of_another_name_is_unknown_whatever_was_looked_up() {
    let (one, other) = (token(), token());
    let kept = stored(&other, 1, LabelRule::Any);
    assert_eq!(admit(Some(&kept), &one, &labels(&[]), NOW), Err(TokenRefusal::Unknown { id: one.id() }));
}

#[test]
fn a_token_is_not_good_for_ever() {
    let token = token();
    let make = |uses: u32, life| {
        StoredToken::new(&token, Joiner::Host, uses.try_into().expect("some"), life, LabelRule::Any, NOW).map(|_| ())
    };
    assert_eq!(make(USES_LIMIT, LIFE_LIMIT), Ok(()));
    assert_eq!(make(USES_LIMIT + 1, HOUR), Err(InvalidTerms::Uses));
    assert_eq!(make(1, LIFE_LIMIT + Duration::from_secs(1)), Err(InvalidTerms::Life));
    assert_eq!(make(1, Duration::ZERO), Err(InvalidTerms::Life));
}

#[test]
fn what_is_kept_of_a_token_survives_being_written() {
    let token = token();
    let kept = stored(&token, 3, LabelRule::Only(labels(&["region=eu", "zone=a"])));
    let text = serde_json::to_string(&kept).expect("written");
    let back: StoredToken = serde_json::from_str(&text).expect("read");
    assert_eq!(admit(Some(&back), &token, &labels(&["zone=a"]), NOW), Ok(Joiner::Host));
    assert_eq!((back.uses_left, back.expires, back.labels), (3, kept.expires, kept.labels));
}

proptest! {
    #[test]
    fn a_token_with_one_character_changed_is_an_error_or_another_token(at in 0..TOKEN_BYTES, to in 0x20_u8..0x7f) {
        let token = token().to_string();
        let mut changed = token.clone().into_bytes();
        changed[at] = to;
        let changed = String::from_utf8(changed).expect("ASCII");
        if let Ok(read) = changed.parse::<JoinToken>() {
            prop_assert_eq!(read.to_string(), changed);
        }
    }
}
