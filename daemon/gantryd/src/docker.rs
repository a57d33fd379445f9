//! The sockets of the Docker API, and who comes in by them.

use crate::config::{Doors, Host, Settings, Tls};
use crate::error::{Error, Result};
use crate::inherited_unsafe;
use crate::socket::{self, Place};
use gantry_api_docker::{About, Door, Stream, serve};
use gantry_engine::Engine;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tracing::{debug, info, warn};

/// How long a client may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// Out of descriptors: how long until the next is tried.
const BREATH: Duration = Duration::from_millis(200);

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// All of them, bound.
pub struct Sockets {
    listeners: Vec<Listener>,
    places: Vec<Place>,
}

impl Sockets {
    pub async fn bind(settings: &Settings) -> Result<Self> {
        let doors = &settings.doors;
        let tls = doors.tls.as_ref().map(acceptor).transpose()?;
        let mut sockets = Self {
            listeners: Vec::new(),
            places: Vec::new(),
        };
        for host in &doors.hosts {
            match host {
                Host::Unix(path) => sockets.add_unix(path, doors)?,
                Host::Tcp(address) => {
                    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen {
                        address: address.clone(),
                        source,
                    })?;
                    sockets.listeners.push(Listener::Tcp(listener, tls.clone()));
                }
                Host::Inherited => sockets.add_inherited(tls.as_ref())?,
            }
            info!("the Docker API answers on {}", shown(host));
        }
        Ok(sockets)
    }

    fn add_unix(&mut self, path: &Path, doors: &Doors) -> Result<()> {
        let (listener, place) = socket::bind_at(path, 0, doors.group.unwrap_or(0))?;
        let listener = UnixListener::from_std(listener).map_err(Error::path("listen on", path))?;
        self.listeners.push(Listener::Unix(listener));
        self.places.push(place);
        Ok(())
    }

    fn add_inherited(&mut self, tls: Option<&TlsAcceptor>) -> Result<()> {
        let handed = inherited_unsafe::take();
        if handed.is_empty() {
            return Err(Error::Inherited);
        }
        for socket in handed {
            let listener = listener(socket, tls).map_err(|source| Error::System {
                deed: "listen on an inherited socket",
                source,
            })?;
            self.listeners.push(listener);
        }
        Ok(())
    }

    /// Serves until `end`; connections end with their request.
    pub fn serve(self, engine: &Engine, end: &watch::Receiver<bool>) -> Served {
        let proxy = |name: &str| std::env::var(name).unwrap_or_default();
        let door = Door::new(
            engine.clone(),
            About {
                http_proxy: proxy("HTTP_PROXY"),
                https_proxy: proxy("HTTPS_PROXY"),
                no_proxy: proxy("NO_PROXY"),
            },
        );
        let (open, connections) = mpsc::channel(1);
        for listener in self.listeners {
            tokio::spawn(accept(listener, door.clone(), end.clone(), open.clone()));
        }
        Served {
            places: self.places,
            connections,
        }
    }
}

/// Held by everything that lets clients in or serves them; nothing is ever sent.
type Open = mpsc::Sender<std::convert::Infallible>;

/// The sockets while they are served.
pub struct Served {
    places: Vec<Place>,
    connections: mpsc::Receiver<std::convert::Infallible>,
}

impl Served {
    /// Returns when, after the end, the last connection has had its answer.
    pub async fn ended(&mut self) {
        let _nothing_comes = self.connections.recv().await;
    }

    pub fn remove(self) {
        for place in self.places {
            place.remove();
        }
    }
}

fn shown(host: &Host) -> String {
    match host {
        Host::Unix(path) => path.display().to_string(),
        Host::Tcp(address) => format!("tcp://{address}"),
        Host::Inherited => "the sockets that were handed down".to_owned(),
    }
}

fn listener(socket: OwnedFd, tls: Option<&TlsAcceptor>) -> std::io::Result<Listener> {
    let family = getsockname::<SockaddrStorage>(socket.as_raw_fd())?.family();
    if family == Some(AddressFamily::Unix) {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        return UnixListener::from_std(listener).map(Listener::Unix);
    }
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?, tls.cloned()))
}

async fn ended(mut end: watch::Receiver<bool>) {
    // Sent or dropped, it is time.
    let _ = end.wait_for(|end| *end).await;
}

async fn accept(listener: Listener, door: Door, end: watch::Receiver<bool>, open: Open) {
    loop {
        let came = tokio::select! {
            came = one(&listener, &door, &end, &open) => came,
            () = ended(end.clone()) => return,
        };
        if let Err(error) = came {
            warn!(err = %error, "a client of the Docker API could not be let in");
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// Lets one client in.
async fn one(listener: &Listener, door: &Door, end: &watch::Receiver<bool>, open: &Open) -> std::io::Result<()> {
    let (door, end, open) = (door.clone(), ended(end.clone()), open.clone());
    match listener {
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            connect(open, serve(door, stream, end));
        }
        Listener::Tcp(listener, tls) => {
            let (stream, _) = listener.accept().await?;
            // What a client types should not wait for more.
            let _ = stream.set_nodelay(true);
            match tls.clone() {
                None => connect(open, serve(door, stream, end)),
                Some(tls) => connect(open, agree(tls, stream, door, end)),
            }
        }
    }
    Ok(())
}

fn connect(open: Open, connection: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        connection.await;
        drop(open);
    });
}

async fn agree(tls: TlsAcceptor, stream: impl Stream, door: Door, end: impl Future<Output = ()>) {
    match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(door, stream, end).await,
        Ok(Err(error)) => debug!(err = %error, "a client was not let in"),
        Err(_) => debug!("a client took too long to agree on TLS"),
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor> {
    let bad = |path: &Path, reason: String| Error::Tls {
        path: path.to_owned(),
        reason,
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
        let found = read.map_err(|error| bad(path, error.to_string()))?;
        match found.is_empty() {
            true => Err(bad(path, "no certificate is in it".to_owned())),
            false => Ok(found),
        }
    };
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| bad(&tls.key, error.to_string()))?;
    let builder = ServerConfig::builder();
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                .build()
                .map_err(|error| bad(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(certificates(&tls.certificate)?, key)
        .map_err(|error| bad(&tls.certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
