//! The web configuration: TLS and passwords for what is served, with the keys that Prometheus exporters
//! use (prometheus/exporter-toolkit, docs/web-configuration.md). What they have and flowmon has not is an
//! error: nobody is to believe in a protection that is not there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::policy::{
    Place, Problem,
    document::{self, Cursor, Findings},
};

/// bcrypt's cost is the binary logarithm of its rounds: at this one a guess takes a second.
const HIGHEST_COST: u32 = 14;

/// Headers that may be set.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];

/// What such a file says.
#[derive(Default)]
pub struct Web {
    /// How TLS is spoken; without, it is not.
    pub tls: Option<Tls>,
    /// bcrypt's hash of each user's password; where there is nobody, nobody is asked.
    pub users: BTreeMap<String, String>,
    /// Headers of every response.
    pub headers: Vec<(&'static str, String)>,
}

/// How TLS is spoken.
pub struct Tls {
    /// The certificate and those it is signed by.
    pub cert: File,
    /// Its key.
    pub key: File,
    /// Which certificates clients have; without, they are not asked.
    pub clients: Option<Clients>,
    /// The lowest version, and the highest.
    pub versions: [Version; 2],
}

/// Certificates of clients.
pub struct Clients {
    /// By whom they are signed.
    pub ca: File,
    /// Must there be one?
    pub must: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// A file, and where it is named.
#[derive(Clone)]
pub struct File {
    /// From the working directory.
    pub path: PathBuf,
    /// Where the web configuration names it.
    pub place: Place,
}

/// Reads one, in this folder: its paths begin there.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: &Arc<str>, text: &str, folder: &Path) -> Result<Web, Vec<Problem>> {
    document::alone(file, text, |whole, findings| {
        let mut web = Web::default();
        let mut fields = whole.fields(findings);
        if let Some(at) = fields.get("tls_server_config") {
            web.tls = tls(file, &at, folder, findings);
        }
        if let Some(at) = fields.get("http_server_config") {
            web.headers = http(&at, findings);
        }
        if let Some(at) = fields.get("basic_auth_users") {
            for (name, at) in at.fields(findings).all() {
                web.users.extend(user(name, &at, findings));
            }
        }
        fields.end(findings);
        web
    })
    .map_err(super::by_place)
}

fn tls(
    file: &Arc<str>,
    at: &Cursor<'_, '_>,
    folder: &Path,
    findings: &mut Findings<'_>,
) -> Option<Tls> {
    let named = |at: &Cursor<'_, '_>, findings: &mut Findings<'_>| {
        let path = at.text(findings)?;
        Some(File {
            path: folder.join(path),
            place: at.place(file),
        })
    };
    let mut fields = at.fields(findings);
    let cert = fields.require("cert_file", findings);
    let cert = cert.and_then(|at| named(&at, findings));
    let key = fields.require("key_file", findings);
    let key = key.and_then(|at| named(&at, findings));
    let ask = fields.get("client_auth_type");
    let must = ask.as_ref().and_then(|at| client_auth(at, findings));
    let ca = fields.get("client_ca_file");
    let clients = match (&ca, must) {
        (Some(at), Some(must)) => named(at, findings).map(|ca| Clients { ca, must }),
        (Some(at), None) => {
            let says = "certificates of clients are not asked for: say client_auth_type: \
                        RequireAndVerifyClientCert, or leave this out";
            findings.error(at, "missing-field", says);
            None
        }
        (None, Some(_)) => {
            let says = "client_ca_file must say by whom certificates of clients are signed";
            findings.error(ask.as_ref().unwrap_or(at), "missing-field", says);
            None
        }
        (None, None) => None,
    };
    let min = fields.get("min_version");
    let max = fields.get("max_version");
    let mut version = |at: &Option<Cursor<'_, '_>>, otherwise| {
        let said = at.as_ref().and_then(|at| version(at, findings));
        said.unwrap_or(otherwise)
    };
    let versions = [version(&min, Version::Tls12), version(&max, Version::Tls13)];
    if versions.is_sorted() {
        fields.end(findings);
    } else {
        let says = "min_version is above max_version";
        findings.error(at, "wrong-type", says);
    }
    Some(Tls {
        cert: cert?,
        key: key?,
        clients,
        versions,
    })
}

/// Whether a certificate of the client must be there; none if it is not asked for.
fn client_auth(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<bool> {
    match at.text(findings)? {
        "NoClientCert" => None,
        "VerifyClientCertIfGiven" => Some(false),
        "RequireAndVerifyClientCert" => Some(true),
        other => {
            let why = match other {
                "RequestClientCert" | "RequireAnyClientCert" => {
                    "verifies nothing, which flowmon does not support"
                }
                _ => "is not known",
            };
            let says = format_args!(
                "`{other}` {why}: say NoClientCert, VerifyClientCertIfGiven or \
                 RequireAndVerifyClientCert"
            );
            findings.error(at, "wrong-type", says);
            // So that no more is said of it.
            Some(true)
        }
    }
}

fn version(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<Version> {
    match at.text(findings)? {
        "TLS12" => Some(Version::Tls12),
        "TLS13" => Some(Version::Tls13),
        other => {
            let says = format_args!("`{other}` is not supported: TLS12 and TLS13 are");
            findings.error(at, "wrong-type", says);
            None
        }
    }
}

fn http(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Vec<(&'static str, String)> {
    let mut fields = at.fields(findings);
    if let Some(at) = fields.get("http2")
        && at.scalar(findings).is_some_and(|it| it != "false")
    {
        let says = "flowmon speaks HTTP/1.1 only: say false, or leave it out";
        findings.error(&at, "wrong-type", says);
    }
    let mut headers = Vec::new();
    if let Some(at) = fields.get("headers") {
        let mut fields = at.fields(findings);
        for name in HEADERS {
            let Some(at) = fields.get(name) else { continue };
            let Some(value) = at.text(findings) else {
                continue;
            };
            if http::HeaderValue::from_str(value).is_err() {
                findings.error(
                    &at,
                    "wrong-type",
                    "it has characters that no header may have",
                );
            }
            headers.push((name, value.to_owned()));
        }
        fields.end(findings);
    }
    fields.end(findings);
    headers
}

/// The hash is not repeated in what is said.
fn user(name: &str, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<(String, String)> {
    if name.is_empty() || name.contains(':') {
        findings.error(at, "invalid-name", "a user has a name, and no `:` in it");
    }
    let hash = at.text(findings)?;
    match hash.parse::<bcrypt::HashParts>() {
        Ok(parts) if parts.get_cost() <= HIGHEST_COST => {}
        Ok(parts) => {
            let says = format_args!(
                "a cost of {} makes each login too slow: {HIGHEST_COST} is the highest, 10 is usual",
                parts.get_cost()
            );
            findings.error(at, "wrong-type", says);
        }
        Err(_) => {
            let says = "this is no hash by bcrypt: `htpasswd -nBC 10 NAME` makes one";
            findings.error(at, "wrong-type", says);
        }
    }
    Some((name.to_owned(), hash.to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let Err(problems) = read(&"web.yaml".into(), text, Path::new("etc")) else {
            return Vec::new();
        };
        let says = |it: &Problem| format!("{}: {}", it.place, it.message);
        problems.iter().map(says).collect()
    }

    #[test]
    fn what_exporters_are_told_is_understood() {
        let text = "\
tls_server_config:
  cert_file: server.pem
  key_file: /etc/ssl/server.key
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: clients.pem
  min_version: TLS13
http_server_config:
  http2: false
  headers: {X-Frame-Options: deny}
basic_auth_users:
  alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
";
        let web = read(&"web.yaml".into(), text, Path::new("etc"))
            .ok()
            .unwrap();
        let tls = web.tls.unwrap();
        assert_eq!(tls.cert.path, Path::new("etc/server.pem"));
        assert_eq!(tls.key.path, Path::new("/etc/ssl/server.key"));
        let clients = tls.clients.unwrap();
        assert_eq!(clients.ca.path, Path::new("etc/clients.pem"));
        assert!(!clients.must);
        assert_eq!(tls.versions, [Version::Tls13, Version::Tls13]);
        assert_eq!(web.headers, [("X-Frame-Options", "deny".to_owned())]);
        assert!(web.users.contains_key("alice"));
        assert!(read(&"web.yaml".into(), "{}", Path::new("")).is_ok());
    }

    #[test]
    fn what_is_not_supported_is_told_with_its_place_and_no_hash_is_repeated() {
        let text = "\
tls_server_config:
  cert_file: server.pem
  client_auth_type: RequireAnyClientCert
  min_version: TLS10
  cipher_suites: []
http_server_config: {http2: true, headers: {Server: x}}
basic_auth_users:
  alice: secret
  bob: $2y$17$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG
rate_limit: {burst: 1}
";
        assert_eq!(
            wrong(text),
            [
                "web.yaml:2:3: `key_file` is missing",
                "web.yaml:3:21: `RequireAnyClientCert` verifies nothing, which flowmon does not \
                 support: say NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
                "web.yaml:3:21: client_ca_file must say by whom certificates of clients are signed",
                "web.yaml:4:16: `TLS10` is not supported: TLS12 and TLS13 are",
                "web.yaml:5:3: unknown field `cipher_suites`; known here: cert_file, key_file, \
                 client_auth_type, client_ca_file, min_version, max_version",
                "web.yaml:6:29: flowmon speaks HTTP/1.1 only: say false, or leave it out",
                "web.yaml:6:45: unknown field `Server`; known here: Content-Security-Policy, \
                 X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, Strict-Transport-Security",
                "web.yaml:8:10: this is no hash by bcrypt: `htpasswd -nBC 10 NAME` makes one",
                "web.yaml:9:8: a cost of 17 makes each login too slow: 14 is the highest, 10 is usual",
                "web.yaml:10:1: unknown field `rate_limit`; known here: tls_server_config, \
                 http_server_config, basic_auth_users",
            ]
        );
        let text = "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}";
        assert_eq!(wrong(text).len(), 1);
        let text = "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, \
                    max_version: TLS12}";
        assert_eq!(wrong(text).len(), 1);
    }
}
