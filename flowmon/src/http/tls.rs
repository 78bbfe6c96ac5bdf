//! TLS as the web configuration wants it.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use crate::config::{
    Problem,
    web::{Clients, File, Tls, Version},
};

/// What is spoken; reads the files that are named.
pub(super) fn server(tls: &Tls) -> Result<Arc<ServerConfig>, Problem> {
    let provider = Arc::new(ring::default_provider());
    let certificates = certificates(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key.path);
    let key = key.map_err(|error| problem(&tls.key, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&versions(tls.versions));
    let builder = builder.map_err(|error| problem(&tls.cert, &error))?;
    let builder = match &tls.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(clients, provider)?),
    };
    let server = builder.with_single_cert(certificates, key);
    let mut server = server.map_err(|error| problem(&tls.cert, &error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn versions([min, max]: [Version; 2]) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)].into_iter();
    let wanted = all.filter(|(version, _)| (min..=max).contains(version));
    wanted.map(|(_, version)| version).collect()
}

fn verifier(
    clients: &Clients,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&clients.ca)? {
        let added = roots.add(certificate);
        added.map_err(|error| problem(&clients.ca, &error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if clients.must {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| problem(&clients.ca, &error))
}

/// One at least.
fn certificates(file: &File) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found = CertificateDer::pem_file_iter(&file.path).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(|error| problem(file, &error))?;
    if found.is_empty() {
        return Err(problem(file, &"there is no certificate in it"));
    }
    Ok(found)
}

fn problem(file: &File, says: &dyn std::fmt::Display) -> Problem {
    let message = format!("{}: {says}", file.path.display());
    Problem::unreadable(file.place.clone(), message)
}
