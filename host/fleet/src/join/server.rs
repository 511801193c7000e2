//! The coordinator's side of joining.

use std::{str::FromStr, sync::Arc};

use host_api::{Failure, FailureKind};
use host_core::label::{Label, Labels};
use tonic::{Request, Response, Status};

use super::admission::{Admission, AdmissionError, Application};
use crate::{
    clock::Clock,
    identity::{Authority, CertificateRequest, JoinToken, SubjectName},
    pb::{
        JoinRequest, JoinResponse,
        join_server::{Join, JoinServer},
    },
    transport::Caller,
};

/// Largest request: a token, a certificate request and 32 labels of 127 bytes, with room.
const REQUEST_LIMIT_BYTES: usize = 16 << 10;

/// Lets joiners in. Anybody may ask, with a certificate or without: the token is what counts.
#[derive(Debug)]
pub struct Joining<A> {
    authority: Arc<Authority>,
    admission: Arc<A>,
    clock: Clock,
}

impl<A: Admission> Joining<A> {
    /// Signs with this authority whom this store lets in.
    #[must_use]
    pub const fn new(authority: Arc<Authority>, admission: Arc<A>, clock: Clock) -> Self {
        Self { authority, admission, clock }
    }

    async fn join(&self, request: JoinRequest) -> Result<JoinResponse, Failure> {
        let (application, request) = read(request)?;
        let now = self.clock.now();
        let admitted = self.admission.admit(application, now).await.map_err(|error| match error {
            AdmissionError::Refused(refusal) => {
                Failure::new(FailureKind::Refused, refusal.to_string()).remedy(refusal.remedy())
            }
            AdmissionError::Store(source) => {
                tracing::error!(%source, "the store failed while somebody joined");
                Failure::new(FailureKind::Internal, "the coordinator's store failed").remedy("try again")
            }
        })?;
        let certificate = self.authority.sign(&request, admitted.joiner, now).map_err(|error| {
            tracing::error!(%error, "a certificate could not be signed");
            Failure::new(FailureKind::Internal, "the coordinator could not sign the certificate")
                .still("no further use of the token will be taken when the same host joins again")
                .remedy("try again")
        })?;
        Ok(JoinResponse {
            certificate: certificate.to_vec().into(),
            authority: self.authority.certificate().der().to_vec().into(),
        })
    }
}

/// Puts it into the form in which it is added to a server.
pub fn service<A: Admission>(joining: Joining<A>) -> JoinServer<Joining<A>> {
    JoinServer::new(joining).max_decoding_message_size(REQUEST_LIMIT_BYTES)
}

#[tonic::async_trait]
impl<A: Admission> Join for Joining<A> {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let address = Caller::of(&request).address();
        let request = request.into_inner();
        let name = request.name.parse::<SubjectName>().ok();
        let answer = Self::join(self, request).await;
        match &answer {
            Ok(_) => tracing::info!(?address, name = name.as_ref().map(SubjectName::as_str), "joined the fleet"),
            // Anybody can make this happen as often as they like.
            Err(failure) => tracing::debug!(?address, %failure, "refused to let somebody join"),
        }
        Ok(Response::new(answer?))
    }
}

/// The validation door.
fn read(request: JoinRequest) -> Result<(Application, CertificateRequest), Failure> {
    let token = field::<JoinToken>("token", &request.token)?;
    let name = field::<SubjectName>("name", &request.name)?;
    let labels = request.labels.iter().map(|label| field::<Label>("labels", label)).collect::<Result<Vec<_>, _>>()?;
    let labels = Labels::try_from(labels).map_err(|error| invalid("labels", &error))?;
    let asked = CertificateRequest::check(&request.certificate_request)
        .map_err(|error| invalid("certificate_request", &error))?;
    if *asked.name() != name {
        return Err(invalid("certificate_request", &format!("it is for {}, not for {name}", asked.name())));
    }
    Ok((Application { token, key: asked.key(), name, labels }, asked))
}

fn field<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error| invalid(name, &error))
}

fn invalid(field: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Invalid, format!("{field}: {why}")).still("no use of the token was taken")
}
