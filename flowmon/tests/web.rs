//! `--web-config`: who is let pass to what is served, and who is not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flowmon::http::{self, Answers, Guard};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

struct Says;

impl Answers for Says {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        Ok(b"flowmon_build_info 1\n".to_vec())
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// Who signs certificates.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name that no certificate has: openssl takes those for signed by themselves.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// A certificate and its key.
    fn sign(&self) -> (String, String) {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        (signed.pem(), key.serialize_pem())
    }
}

/// Something that is served by a web configuration, in a folder of its own.
struct Served {
    folder: PathBuf,
    address: SocketAddr,
    authority: Authority,
}

impl Served {
    /// With a certificate in `server.pem` and `server.key`, and who signed it in `ca.pem`.
    fn new(name: &str, web_config: &str) -> Self {
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("flowmon-web-{name}-{id}"));
        fs::create_dir_all(&folder).unwrap();
        let mut served = Self {
            folder,
            address: ([127, 0, 0, 1], 0).into(),
            authority: Authority::new(),
        };
        served.put("ca.pem", &served.authority.1);
        served.put_certificate(&served.authority.sign());
        served.put("web.yaml", web_config);
        let guard = Guard::open(&served.folder.join("web.yaml"));
        let guard = guard.unwrap_or_else(|problems| panic!("{problems:?}"));
        let listener = TcpListener::bind(served.address).unwrap();
        served.address = listener.local_addr().unwrap();
        http::serve(listener, Says, Some(guard)).unwrap();
        served
    }

    /// As whoever replaces a file should.
    fn put(&self, name: &str, text: &str) {
        let next = self.folder.join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.join(name)).unwrap();
    }

    fn put_certificate(&self, (certificate, key): &(String, String)) {
        self.put("server.pem", certificate);
        self.put("server.key", key);
    }

    fn client(&self) -> Client {
        Client {
            address: self.address,
            roots: vec![self.authority.1.clone()],
            own: None,
            version: &TLS13,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// Who asks by TLS.
struct Client {
    address: SocketAddr,
    /// Whom it trusts.
    roots: Vec<String>,
    own: Option<(String, String)>,
    version: &'static SupportedProtocolVersion,
}

impl Client {
    fn get(&self, path: &str) -> io::Result<String> {
        self.connect().and_then(|stream| ask(stream, path, ""))
    }

    fn connect(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        for pem in &self.roots {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            roots.add(certificate).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Ok(StreamOwned::new(
            connection,
            TcpStream::connect(self.address)?,
        ))
    }

    /// The certificate that it is shown.
    fn is_shown(&self) -> CertificateDer<'static> {
        let mut stream = self.connect().unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let shown = stream.conn.peer_certificates().unwrap();
        shown.first().unwrap().clone().into_owned()
    }
}

fn ask(mut stream: impl Read + Write, path: &str, head: &str) -> io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn in_plain(served: &Served, path: &str, head: &str) -> io::Result<String> {
    TcpStream::connect(served.address).and_then(|stream| ask(stream, path, head))
}

fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {encoded}\r\n")
}

fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

#[test]
fn only_who_has_a_password_reads_metrics() {
    let (alice, bob) = (hash("wonder:land"), hash(""));
    let users = format!("basic_auth_users: {{alice: {alice}, bob: {bob}}}\n");
    let served = Served::new("password", &users);
    let status = |path: &str, head: &str| {
        let answer = in_plain(&served, path, head).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let right = basic("alice", "wonder:land");
    // The second one is remembered.
    for _ in 0..2 {
        assert_eq!(status("/metrics", &right), "200");
        assert_eq!(status("/metrics", &basic("bob", "")), "200");
    }
    for wrong in [
        String::new(),
        basic("alice", "wonderland"),
        basic("alice", ""),
        basic("bob", "wonder:land"),
        basic("carol", "wonder:land"),
        basic("", ""),
        right.replace("Basic", "Bearer"),
        "Authorization: Basic\r\n".to_owned(),
        "Authorization: Basic ####\r\n".to_owned(),
        format!("Authorization: Basic {}\r\n", STANDARD.encode("alice")),
        format!("Authorization: Basic {}\r\n", STANDARD.encode(b"\xff:\xff")),
    ] {
        for path in ["/metrics", "/", "/else"] {
            assert_eq!(status(path, &wrong), "401", "{path} {wrong}");
        }
    }
    let answer = in_plain(&served, "/metrics", "").unwrap();
    assert!(
        answer.contains("www-authenticate: Basic realm=\"flowmon\"\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("build_info"), "{answer}");
    // Who asks whether it is well has none.
    assert_eq!(status("/healthz", ""), "200");
    assert_eq!(status("/readyz", ""), "200");
}

#[test]
fn only_tls_is_spoken_and_not_below_the_lowest_version() {
    let text = "
tls_server_config: {cert_file: server.pem, key_file: server.key, min_version: TLS13}
http_server_config: {headers: {X-Content-Type-Options: nosniff}}
";
    let served = Served::new("tls", text);
    let answer = served.client().get("/metrics").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("x-content-type-options: nosniff\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("flowmon_build_info 1\n"), "{answer}");
    let in_plain = in_plain(&served, "/metrics", "").unwrap_or_default();
    assert!(!in_plain.contains("HTTP/1.1 200"), "{in_plain}");
    let old = Client {
        version: &TLS12,
        ..served.client()
    };
    assert!(old.get("/metrics").is_err());
    let elsewhere = Client {
        roots: vec![Authority::new().1],
        ..served.client()
    };
    assert!(elsewhere.get("/metrics").is_err());

    let text = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";
    let served = Served::new("tls12", text);
    for version in [&TLS12, &TLS13] {
        let client = Client {
            version,
            ..served.client()
        };
        let answer = client.get("/metrics").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn clients_show_certificates_where_they_must() {
    let tls = "cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem";
    let is_let_pass = |name: &str, ask: &str| {
        let text = format!("tls_server_config: {{{tls}, client_auth_type: {ask}}}\n");
        let served = Served::new(name, &text);
        let own = [
            Some(served.authority.sign()),
            Some(Authority::new().sign()),
            None,
        ];
        own.map(|own| {
            let client = Client {
                own,
                ..served.client()
            };
            let is_fine = |answer: &String| answer.starts_with("HTTP/1.1 200");
            [&TLS12, &TLS13].map(|version| {
                let client = Client {
                    own: client.own.clone(),
                    version,
                    ..served.client()
                };
                client.get("/metrics").is_ok_and(|answer| is_fine(&answer))
            })
        })
    };
    let must = is_let_pass("must", "RequireAndVerifyClientCert");
    assert_eq!(must, [[true; 2], [false; 2], [false; 2]]);
    let may = is_let_pass("may", "VerifyClientCertIfGiven");
    assert_eq!(may, [[true; 2], [false; 2], [true; 2]]);
}

#[test]
fn what_changes_is_followed_and_what_is_broken_changes_nothing() {
    let tls = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";
    let with = |password: &str| format!("{tls}basic_auth_users: {{alice: {}}}\n", hash(password));
    let served = Served::new("reload", &with("old"));
    let client = served.client();
    let status = |password: &str| {
        let stream = client.connect().unwrap();
        let answer = ask(stream, "/metrics", &basic("alice", password)).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let first = client.is_shown();
    assert_eq!(status("old"), "200");
    served.put_certificate(&served.authority.sign());
    let second = client.is_shown();
    assert_ne!(first, second);
    // A key of another certificate: whoever replaces both does so one after the other.
    served.put("server.key", &served.authority.sign().1);
    assert_eq!(client.is_shown(), second);
    // A password that was right is not remembered beyond that.
    served.put("web.yaml", "nonsense");
    assert_eq!(status("old"), "200");
    served.put_certificate(&served.authority.sign());
    served.put("web.yaml", &with("new"));
    assert_eq!(status("old"), "401");
    assert_eq!(status("new"), "200");
    assert_ne!(client.is_shown(), second);
    fs::remove_file(served.folder.join("web.yaml")).unwrap();
    assert_eq!(status("new"), "200");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let served = Served::new("wrong", "{}");
    let wrong = |text: &str| {
        served.put("other.yaml", text);
        let path = served.folder.join("other.yaml");
        let problems = Guard::open(&path).err().unwrap_or_default();
        let says = problems
            .iter()
            .map(|it| format!("{}: {}", it.place, it.message));
        says.collect::<Vec<_>>().join("\n")
    };
    served.put("empty.pem", "");
    for (cert, key, says) in [
        ("server.pem", "server.key", ""),
        ("nowhere.pem", "server.key", "other.yaml:1:32: "),
        ("empty.pem", "server.key", "there is no certificate in it"),
        ("server.pem", "server.pem", "other.yaml:1:54: "),
    ] {
        let text = format!("tls_server_config: {{cert_file: {cert}, key_file: {key}}}\n");
        let said = wrong(&text);
        assert_eq!(said.is_empty(), says.is_empty(), "{said}");
        assert!(said.contains(says), "{said}");
    }
    served.put("server.key", &served.authority.sign().1);
    let said = wrong("tls_server_config: {cert_file: server.pem, key_file: server.key}\n");
    assert!(said.contains("server.pem"), "{said}");
}

/// As by hand. Under `CI=true` curl must be there.
#[test]
fn curl_is_let_pass_with_password_and_certificate() {
    let tls = "cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
               client_auth_type: RequireAndVerifyClientCert";
    let hash = hash("wonderland");
    let text = format!("tls_server_config: {{{tls}}}\nbasic_auth_users: {{alice: {hash}}}\n");
    let served = Served::new("curl", &text);
    let (certificate, key) = served.authority.sign();
    served.put("client.pem", &certificate);
    served.put("client.key", &key);
    let url = format!("https://localhost:{}/metrics", served.address.port());
    let file = |name: &str| served.folder.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let trusting = [
        "--silent",
        "--show-error",
        "--fail",
        "--cacert",
        &ca,
        "--cert",
        &cert,
        "--key",
        &key,
        &url,
    ];
    let curl = |user: &str| {
        let mut command = Command::new("curl");
        command.args(trusting).args(["--user", user]).output()
    };
    match curl("alice:wonderland") {
        Ok(output) => assert_eq!(output.stdout, b"flowmon_build_info 1\n", "{output:?}"),
        Err(error) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "curl: {error}");
            return;
        }
    }
    // 22: an HTTP error.
    assert_eq!(curl("alice:wonder").unwrap().status.code(), Some(22));
}
