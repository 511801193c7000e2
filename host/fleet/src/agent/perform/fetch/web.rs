//! A component from an `https` address, in pieces: what breaks off goes on where it stopped.
//!
//! The server is trusted as the host's system says (`SSL_CERT_FILE` and `SSL_CERT_DIR` included), a proxy is used where `HTTPS_PROXY`
//! names one. Neither has to be trusted for the bytes: whoever asked named their digest.

use std::{error::Error, fmt::Write as _, time::Duration};

use host_api::Staging;
use reqwest::{Client, StatusCode, header, redirect::Policy};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::{RESUME_DELAY, RESUMES_LIMIT, words};
use crate::{identity::provider, store::ARTIFACT_LIMIT_BYTES};

/// Addresses that one address may lead to, one after the other: what release pages use, twice over.
const REDIRECTS_LIMIT: usize = 5;
/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longest silence of a server in the middle of a component.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// A client for the web as the system trusts it.
///
/// # Errors
/// In words: the system names nobody that can be trusted.
pub(super) fn client() -> Result<Client, String> {
    let tls = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_platform_verifier())
        .map_err(|error| format!("no server on the web can be trusted on this host: {error}"))?;
    build(tls.with_no_client_auth())
}

fn build(tls: ClientConfig) -> Result<Client, String> {
    let agent = concat!("hotswap/", env!("CARGO_PKG_VERSION"));
    let builder = Client::builder().tls_backend_preconfigured(tls).https_only(true).user_agent(agent);
    let builder = builder.connect_timeout(CONNECT_LIMIT).read_timeout(SILENCE_LIMIT);
    let client = builder.redirect(Policy::limited(REDIRECTS_LIMIT)).build();
    client.map_err(|error| format!("no component can be fetched from the web: {}", in_full(&error)))
}

/// Why a piece did not come to its end.
#[derive(Debug)]
enum Broken {
    /// It will not go better.
    Off(String),
    /// It may.
    Passing(String),
}

/// Reads all that is there.
///
/// # Errors
/// In words.
pub(super) async fn read<S: Staging>(client: &Client, address: &str, staging: &mut S) -> Result<(), String> {
    let (mut offset, mut resumes) = (0, 0);
    loop {
        match piece(client, address, &mut offset, staging).await {
            Ok(()) => return Ok(()),
            Err(Broken::Passing(why)) if resumes < RESUMES_LIMIT => {
                resumes += 1;
                tracing::info!(address, offset, "a fetch broke off and goes on: {why}");
                tokio::time::sleep(RESUME_DELAY).await;
            }
            Err(Broken::Off(why) | Broken::Passing(why)) => {
                return Err(format!("the component can't be fetched from {address}: {why}"));
            }
        }
    }
}

async fn piece<S: Staging>(client: &Client, address: &str, offset: &mut u64, staging: &mut S) -> Result<(), Broken> {
    let mut request = client.get(address);
    if *offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let mut response = request.send().await.map_err(broken)?;
    // A server that knows no ranges sends everything once more.
    let mut known = match response.status() {
        StatusCode::OK => *offset,
        StatusCode::PARTIAL_CONTENT if begins_at(&response) == Some(*offset) => 0,
        StatusCode::PARTIAL_CONTENT => {
            return Err(Broken::Off("the server sent another part than was asked for".to_owned()));
        }
        status => {
            let why = format!("the server answered {status}");
            let may_pass = status.is_server_error()
                || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            return Err(if may_pass { Broken::Passing(why) } else { Broken::Off(why) });
        }
    };
    while let Some(mut chunk) = response.chunk().await.map_err(broken)? {
        let skip = usize::try_from(known).unwrap_or(usize::MAX).min(chunk.len());
        known -= skip as u64;
        let new = chunk.split_off(skip);
        *offset += new.len() as u64;
        if *offset > ARTIFACT_LIMIT_BYTES {
            return Err(Broken::Off(format!("it has more than {} MiB", ARTIFACT_LIMIT_BYTES >> 20)));
        }
        if !new.is_empty() {
            staging.write(new).await.map_err(|failure| Broken::Off(words(failure)))?;
        }
    }
    Ok(())
}

/// Where a partial answer begins, as it says itself.
fn begins_at(response: &reqwest::Response) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn broken(error: reqwest::Error) -> Broken {
    let error = error.without_url();
    let why = in_full(&error);
    // Who is not trusted now, or leads elsewhere than it may, is and does so in a second too.
    if error.is_redirect() || error.is_builder() || distrusts(&error) { Broken::Off(why) } else { Broken::Passing(why) }
}

/// Whether an error is about who the other side is.
fn distrusts(error: &reqwest::Error) -> bool {
    let untrusted =
        |error: &(dyn Error + 'static)| matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)));
    std::iter::successors(error.source(), |&error| behind(error)).any(untrusted)
}

/// What is behind an error. One of input and output does not name what is in it as its source.
fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref().and_then(std::io::Error::get_ref) {
        Some(within) => Some(within),
        None => error.source(),
    }
}

/// An error with what is behind it.
fn in_full(error: &dyn Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(behind) = source {
        let _ = write!(text, ": {behind}");
        source = behind.source();
    }
    text
}

#[cfg(test)]
mod tests;
