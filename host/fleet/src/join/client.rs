//! The joiner's side of joining.

use std::{error::Error as _, time::Duration};

use host_api::Failure;
use host_core::label::{Label, Labels};
use tonic::{Code, Status};

use crate::{
    clock::Clock,
    identity::{
        AuthorityCertificate, CertificateRefusal, CoordinatorAddress, Folder, FolderError, Identity, JoinToken, Kind,
        Subject, SubjectName, folder::UnfitCertificate, request::KeyError,
    },
    pb::{JoinRequest, JoinResponse, join_client::JoinClient},
    transport::{ConnectError, Trust, connect},
};

/// How long a coordinator may take to let a joiner in: one transaction and one signature.
const JOIN_LIMIT: Duration = Duration::from_secs(15);
/// Largest answer: two certificates, with room.
const ANSWER_LIMIT_BYTES: usize = 32 << 10;

/// Joining came to nothing. The key that was made is kept, so that another try is the same joiner's.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The identity's folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// This machine is a member of another fleet.
    #[error(
        "the identity in {} is that of {subject} in another fleet ({}) than the token's; nothing was changed. Use another data \
         directory, or leave that fleet by removing the folder", folder.path().display(), subject.fleet
    )]
    OtherFleet {
        /// Where it lies.
        folder: Folder,
        /// Whose it is.
        subject: Subject,
    },
    /// This machine has another name.
    #[error(
        "the identity in {} is that of {subject}, not of {wanted}; nothing was changed. Use its own name, or another data \
         directory for another member", folder.path().display()
    )]
    OtherName {
        /// Where it lies.
        folder: Folder,
        /// Whose it is.
        subject: Subject,
        /// What was wanted.
        wanted: SubjectName,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator refused.
    #[error("the coordinator at {address} did not let this machine join: {failure}")]
    Refused {
        /// Where.
        address: CoordinatorAddress,
        /// In its words.
        failure: Failure,
    },
    /// The coordinator fell silent; whether it let the joiner in is not known.
    #[error(
        "the coordinator at {address} did not answer to the end: join again with the same token and data directory, which \
         takes no further use of it"
    )]
    Lost {
        /// Where.
        address: CoordinatorAddress,
        /// The transport's word.
        #[source]
        source: Box<Status>,
    },
    /// The coordinator's answer is not what was asked for.
    #[error("the coordinator at {address} handed out a certificate that can't be used: {what}; this is a defect in it")]
    Unfit {
        /// Where.
        address: CoordinatorAddress,
        /// What is wrong with it.
        what: String,
    },
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What joining came to.
#[derive(Debug)]
pub enum Joined {
    /// A member from now on.
    Now(Identity),
    /// It was one before; the token was not shown to anybody.
    Before(Identity),
}

impl Joined {
    /// The identity, whenever it was got.
    #[must_use]
    pub fn into_identity(self) -> Identity {
        match self {
            Self::Now(identity) | Self::Before(identity) => identity,
        }
    }
}

/// Becomes a member under this name, and keeps the identity in this folder. A folder that holds one of that fleet and name
/// is used as it is, so that the same command works at every start; the address is kept anew.
///
/// # Errors
/// Says what was refused, by whom, and what to do.
pub async fn join(
    folder: &Folder,
    address: &CoordinatorAddress,
    token: &JoinToken,
    name: &SubjectName,
    labels: &Labels,
    clock: &Clock,
) -> Result<Joined, JoinError> {
    if let Some(identity) = before(folder, token, name, clock)? {
        folder.set_coordinator(address)?;
        return Ok(Joined::Before(identity));
    }
    let key = folder.key()?;
    let channel = connect(address, None, Trust::Key(token.authority()), clock.clone()).await?;
    let request = JoinRequest {
        token: token.to_string(),
        certificate_request: key.request(name)?.into(),
        name: name.to_string(),
        labels: labels.iter().map(Label::to_string).collect(),
    };
    let mut client = JoinClient::new(channel).max_decoding_message_size(ANSWER_LIMIT_BYTES);
    let answer = tokio::time::timeout(JOIN_LIMIT, client.join(request)).await;
    let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
    let JoinResponse { certificate, authority } = answer.map_err(|status| failed(address, status))?.into_inner();

    let unfit = |what: String| JoinError::Unfit { address: address.clone(), what };
    let authority = AuthorityCertificate::read(&authority).map_err(|error| unfit(error.to_string()))?;
    if authority.key() != token.authority() {
        return Err(unfit("the authority's certificate is not that of the token".to_owned()));
    }
    let identity =
        Identity::try_new(key, certificate.to_vec(), authority, clock.now()).map_err(|error| match error {
            UnfitCertificate::Refused(
                why @ (CertificateRefusal::NotYet { .. } | CertificateRefusal::Expired { .. }),
            ) => unfit(format!("{why} ({})", why.remedy())),
            error => unfit(error.to_string()),
        })?;
    let subject = &identity.member().subject;
    if subject.name != *name || subject.kind == Kind::Coordinator {
        return Err(unfit(format!("it is that of {subject}")));
    }
    folder.save(&identity, address)?;
    Ok(Joined::Now(identity))
}

/// The identity that the folder holds already, if it is the one that is wanted.
fn before(
    folder: &Folder,
    token: &JoinToken,
    name: &SubjectName,
    clock: &Clock,
) -> Result<Option<Identity>, JoinError> {
    let identity = match folder.load(clock.now()) {
        Ok(identity) => identity,
        // Nothing to lose: a new certificate for the same key takes the old one's place.
        Err(FolderError::NotJoined { .. } | FolderError::Refused { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let subject = identity.member().subject.clone();
    if identity.authority().key() != token.authority() {
        return Err(JoinError::OtherFleet { folder: folder.clone(), subject });
    }
    if subject.name != *name {
        return Err(JoinError::OtherName { folder: folder.clone(), subject, wanted: name.clone() });
    }
    Ok(Some(identity))
}

fn failed(address: &CoordinatorAddress, status: Status) -> JoinError {
    let address = address.clone();
    // A status with details was written by a coordinator; without, by the transport here.
    let by_transport = status.details().is_empty()
        && (status.source().is_some() || matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded));
    if by_transport {
        JoinError::Lost { address, source: Box::new(status) }
    } else {
        JoinError::Refused { address, failure: Failure::from(&status) }
    }
}
