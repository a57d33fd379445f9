//! What comes with every call beside its message: the namespace, the lease, and the wrapper of every failure.

use gantry_core::{Error, ErrorKind, LeaseId, Namespace};
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument, debug, error};

/// Metadata keys (containerd pkg/namespaces and pkg/leases).
const NAMESPACE: &str = "containerd-namespace";
const LEASE: &str = "containerd-lease";

/// Most bytes of a message as it travels: it goes percent-encoded in a header, and headers have a limit.
const MESSAGE: usize = 2000;

pub type Answer<T> = Result<Response<T>, Status>;

/// The namespace of a call.
pub fn namespace<T>(request: &Request<T>) -> Result<Namespace, Status> {
    let text = |value: &tonic::metadata::MetadataValue<_>| value.to_str().map(str::to_owned);
    match request.metadata().get(NAMESPACE).map(text) {
        None => Err(missing_namespace()),
        Some(Ok(name)) if name.is_empty() => Err(missing_namespace()),
        Some(Ok(name)) => Namespace::new(&name).map_err(|_| {
            let why = crate::identifier::refused(&name);
            refuse(Error::invalid(format!("namespace validation: {why}")))
        }),
        Some(Err(_)) => Err(refuse(Error::invalid("namespace validation: the name is not text"))),
    }
}

fn missing_namespace() -> Status {
    refuse(Error::new(ErrorKind::FailedPrecondition, "namespace is required"))
}

/// The lease that holds what the call makes.
pub fn lease<T>(request: &Request<T>) -> Option<LeaseId> {
    let value = request.metadata().get(LEASE)?.to_str().ok()?;
    Some(LeaseId(value.to_owned())).filter(|lease| !lease.0.is_empty())
}

/// An error as a caller sees it. Logged here and nowhere else.
pub fn refuse(failure: Error) -> Status {
    let kind = failure.kind();
    if kind.is_fault() {
        error!(err = %failure, "request failed");
    } else {
        debug!(err = %failure, kind = kind.word(), "request refused");
    }
    let mut text: String = failure.message().chars().take(MESSAGE).collect();
    // Two classes share a code with FailedPrecondition; containerd's clients know them by the message's end.
    match kind {
        ErrorKind::Conflict if !text.ends_with(": conflict") => text.push_str(": conflict"),
        ErrorKind::NotModified if !text.ends_with(": not modified") => text.push_str(": not modified"),
        _ => {}
    }
    Status::new(Code::from_i32(kind.grpc_code()), text)
}

pub fn answer<T>(result: gantry_core::Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(refuse)
}

/// Runs what changes state to its end, whether or not the client stays for the answer.
pub async fn finish<T, F>(work: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: Future<Output = gantry_core::Result<T>> + Send + 'static,
{
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result.map_err(refuse),
        Err(join) => Err(refuse(Error::internal(format!("the operation ended early: {join}")))),
    }
}

/// Runs what blocks on a thread for it; to its end, too.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> gantry_core::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result.map_err(refuse),
        Err(join) => Err(refuse(Error::internal(format!("the operation ended early: {join}")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_needs_a_good_namespace() {
        let mut request = Request::new(());
        let missing = namespace(&request).unwrap_err();
        assert_eq!(missing.code(), Code::FailedPrecondition);
        assert_eq!(missing.message(), "namespace is required");
        request.metadata_mut().insert(NAMESPACE, "bad/name".parse().unwrap());
        assert_eq!(namespace(&request).unwrap_err().code(), Code::InvalidArgument);
        request.metadata_mut().insert(NAMESPACE, "good".parse().unwrap());
        assert_eq!(namespace(&request).unwrap().as_str(), "good");
        assert!(lease(&request).is_none());
        request.metadata_mut().insert(LEASE, "1-abc".parse().unwrap());
        assert_eq!(lease(&request), Some(LeaseId("1-abc".to_owned())));
    }

    #[test]
    fn classes_that_share_a_code_are_told_apart() {
        let status = refuse(Error::conflict("it runs"));
        assert_eq!(
            (status.code(), status.message()),
            (Code::FailedPrecondition, "it runs: conflict")
        );
    }
}
