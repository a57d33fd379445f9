//! TLS: the system's certificate authorities and the administrator's, on ring.

use crate::error::{ImageError, Result};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Own = [(PathBuf, Option<PathBuf>)];

pub(super) fn verified(ca_files: &[PathBuf], own: &Own) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(err = %error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    for path in ca_files {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|e| unreadable(path, &e))?;
        }
    }
    with_own(builder().with_root_certificates(roots), own)
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> ImageError {
    ImageError::Settings {
        detail: format!("certificate file {}: {error}", path.display()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?;
    all.map(|one| one.map_err(|e| unreadable(path, &e))).collect()
}

/// With the first certificate of ours: a handshake shows one.
fn with_own(builder: rustls::ConfigBuilder<ClientConfig, WantsClientCert>, own: &Own) -> Result<ClientConfig> {
    let Some((certificate, key)) = own.first() else {
        return Ok(builder.with_no_client_auth());
    };
    let key = key.as_ref().unwrap_or(certificate);
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, &e))?;
    builder
        .with_client_auth_cert(certificates(certificate)?, secret)
        .map_err(|e| unreadable(certificate, &e))
}

/// For registries declared insecure.
pub(super) fn unverified(own: &Own) -> Result<ClientConfig> {
    let verifier = Arc::new(AnyCertificate(provider()));
    with_own(builder().dangerous().with_custom_certificate_verifier(verifier), own)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider serves the default versions")
}

/// For registries that the administrator declared insecure: the connection is encrypted, its end is not verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
