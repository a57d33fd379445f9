//! The way to a registry as a client describes it: logins it is asked for, headers, hosts, and a log of what was said.

use super::{Work, read};
use crate::streams::{Stream, bytes};
use gantry_core::{Error, ErrorKind, Result};
use gantry_image::{Access, Credentials, Login, Question, Scheme, WireLog};
use gantry_proto_containerd::types::transfer as wire;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a client may think about its credentials: it may ask a person.
const CREDENTIALS: Duration = Duration::from_secs(300);

/// A way, and who serves it; they go with it.
pub struct Way {
    access: Access,
    /// Ends when nobody asks any more.
    _asking: Option<Serving>,
    /// Ends when all was told.
    _log: Option<Serving>,
}

impl Way {
    pub fn access(&self) -> Access {
        self.access.clone()
    }
}

struct Serving(Option<tokio::task::JoinHandle<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        // It ends by itself once its sender is gone; a client that does not read keeps it until then.
        let Some(task) = self.0.take() else { return };
        tokio::spawn(async move {
            let abort = task.abort_handle();
            if tokio::time::timeout(super::telling::TOLD, task).await.is_err() {
                abort.abort();
            }
        });
    }
}

impl Work<'_> {
    pub(super) async fn way(&self, to: &wire::OciRegistry) -> Result<Way> {
        let resolver = to.resolver.clone().unwrap_or_default();
        let scheme = Scheme::parse(&resolver.default_scheme).map_err(Error::from)?;
        let mut access = Access {
            host_dir: Some(resolver.host_dir.as_str())
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from),
            scheme,
            ..Access::default()
        }
        .with_headers(&resolver.headers.clone().into_iter().collect())?;
        let mut asking = None;
        if !resolver.auth_stream.is_empty() {
            let stream = self.stream(&resolver.auth_stream).await?;
            let (asker, questions) = mpsc::channel(1);
            access.login = Login::Asked(asker);
            asking = Some(Serving(Some(tokio::spawn(answer(
                stream,
                to.reference.clone(),
                questions,
            )))));
        }
        let mut serving = None;
        if let Some((log, task)) = self.log(&resolver).await? {
            access.log = Some(log);
            serving = Some(task);
        }
        Ok(Way {
            access,
            _asking: asking,
            _log: serving,
        })
    }

    /// To the client's stream, or to the daemon's own log.
    async fn log(&self, resolver: &wire::RegistryResolver) -> Result<Option<(WireLog, Serving)>> {
        let asked = wire::HttpDebug::try_from(resolver.http_debug);
        let (heads, times) = match asked {
            Ok(wire::HttpDebug::Disabled) => return Ok(None),
            Ok(wire::HttpDebug::Debug) => (true, false),
            Ok(wire::HttpDebug::Trace) => (false, true),
            Ok(wire::HttpDebug::Both) => (true, true),
            Err(_) => {
                let text = format!("http_debug {} is none of its values", resolver.http_debug);
                return Err(Error::invalid(text));
            }
        };
        let (log, mut lines) = WireLog::new(heads, times);
        let task = match resolver.logs_stream.as_str() {
            "" => tokio::spawn(async move {
                while let Some(lines) = lines.recv().await {
                    tracing::info!(err = %String::from_utf8_lossy(&lines).trim_end(), "a registry's wire");
                }
            }),
            id => {
                let stream = self.stream(id).await?;
                tokio::spawn(async move {
                    let (pieces, source) = mpsc::channel(1);
                    let feed = async move {
                        while let Some(piece) = lines.recv().await {
                            if pieces.send(Ok(piece)).await.is_err() {
                                break;
                            }
                        }
                    };
                    // Who reads no log is no reason for a transfer to fail.
                    let (_, _) = tokio::join!(bytes::send(stream, source), feed);
                })
            }
        };
        Ok(Some((log, Serving(Some(task)))))
    }
}

/// Passes a registry's questions on to the client, one after the other.
async fn answer(mut stream: Stream, reference: String, mut questions: mpsc::Receiver<Question>) {
    while let Some(question) = questions.recv().await {
        let request = wire::AuthRequest {
            host: question.host,
            reference: reference.clone(),
            wwwauthenticate: question.challenges,
        };
        let answered = ask(&mut stream, &request).await;
        // Whoever asked may have given up.
        let _ = question.answer.send(answered);
    }
}

async fn ask(stream: &mut Stream, request: &wire::AuthRequest) -> Result<Option<Credentials>> {
    stream.outgoing.send(request).await?;
    let late = || Error::new(ErrorKind::DeadlineExceeded, "the client gives no credentials");
    let answer = tokio::time::timeout(CREDENTIALS, stream.incoming.message())
        .await
        .map_err(|_| late())?
        .map_err(|status| Error::new(ErrorKind::Unavailable, status.message()))?;
    let Some(answer) = answer else { return Ok(None) };
    let answer: wire::AuthResponse = read(&answer)?;
    Ok(match answer.auth_type() {
        wire::AuthType::None => None,
        wire::AuthType::Credentials => Credentials::new(&answer.username, &answer.secret, ""),
        wire::AuthType::Refresh => Credentials::new(&answer.username, "", &answer.secret),
        wire::AuthType::Header => Some(Credentials {
            header: answer.secret,
            ..Credentials::default()
        }),
    })
}
