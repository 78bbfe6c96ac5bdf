//! An API server of Kubernetes, as far as lists and watches go: pages, versions, bookmarks, history that
//! is compacted; and whatever may go wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// What every cluster has.
pub const PODS: &str = "/api/v1/pods";
pub const NODES: &str = "/api/v1/nodes";
pub const NAMESPACES: &str = "/api/v1/namespaces";
pub const SERVICES: &str = "/api/v1/services";
pub const NETWORK_POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// A watch that has nothing to say says which version it is at.
const BOOKMARK: Duration = Duration::from_millis(100);

/// Longer than anybody waits before asking.
const PATIENCE: Duration = Duration::from_mins(1);

/// What may be wrong with a path.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An answer with this status.
    Status(u16),
    /// It takes the question and never answers.
    Silent,
    /// This is the answer to a list, or what comes in a watch.
    Says(Vec<u8>),
    /// So many bytes of this, in pieces, or until nobody listens.
    Flood(&'static [u8], usize),
}

#[derive(Default)]
struct State {
    version: u64,
    /// What happened up to here is forgotten.
    compacted: u64,
    served: BTreeSet<String>,
    objects: BTreeMap<(String, String), Value>,
    events: Vec<(u64, String, &'static str, Value)>,
    /// What a list that goes on is of, by its path and version.
    lists: BTreeMap<(String, u64), Vec<Value>>,
    faults: BTreeMap<String, Fault>,
    asked: Vec<String>,
    /// Watches of earlier ages are over.
    age: u64,
    cut_in_object: bool,
    compact_after_page: bool,
}

/// It listens until the process ends.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Api {
    /// At a port of the calling thread's network namespace, with what every cluster has.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let api = Self {
            address: listener.local_addr()?,
            shared: Arc::default(),
        };
        api.state().version = 100;
        let paths = [PODS, NODES, NAMESPACES, SERVICES, NETWORK_POLICIES, SLICES];
        for path in paths {
            api.serve(path);
        }
        let answering = api.clone();
        thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                let api = answering.clone();
                // Whoever asks may go at any time.
                thread::spawn(move || api.answer(connection));
            }
        });
        Ok(api)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.shared.0.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.shared.1.notify_all();
    }

    /// A kubeconfig for it; whoever asked for it removes it.
    pub fn kubeconfig(&self) -> io::Result<PathBuf> {
        let SocketAddr::V4(address) = self.address else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let name = format!(
            "flowmon-kubeconfig-{}-{}",
            std::process::id(),
            address.port()
        );
        let path = std::env::temp_dir().join(name);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// It has this kind of objects from now on.
    pub fn serve(&self, path: &str) {
        self.change(|state| _ = state.served.insert(path.to_owned()));
    }

    /// And this one no more.
    pub fn serve_not(&self, path: &str) {
        self.change(|state| _ = state.served.remove(path));
    }

    /// This is wrong with a path from now on; watches begin anew.
    pub fn fail(&self, path: &str, fault: Fault) {
        self.change(|state| {
            state.faults.insert(path.to_owned(), fault);
            state.age += 1;
        });
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) {
        self.change(|state| {
            state.faults.clear();
            state.age += 1;
        });
    }

    /// There is this object, or it has changed.
    pub fn put(&self, path: &str, object: &Value) {
        self.change(|state| {
            let key = (path.to_owned(), called(object));
            let mut object = object.clone();
            state.version += 1;
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let before = state.objects.insert(key, object.clone());
            let kind = if before.is_some() {
                "MODIFIED"
            } else {
                "ADDED"
            };
            let event = (state.version, path.to_owned(), kind, object);
            state.events.push(event);
        });
    }

    /// There is no such object any more.
    pub fn delete(&self, path: &str, object: &Value) {
        self.change(|state| {
            let Some(mut object) = state.objects.remove(&(path.to_owned(), called(object))) else {
                return;
            };
            state.version += 1;
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let event = (state.version, path.to_owned(), "DELETED", object);
            state.events.push(event);
        });
    }

    /// What has happened so far is forgotten, and so are lists that were begun.
    pub fn compact(&self) {
        self.change(|state| {
            state.version += 1;
            state.compacted = state.version;
            state.events.clear();
            state.lists.clear();
        });
    }

    /// What has happened is forgotten as soon as the first page of a list was given that has more.
    pub fn compact_after_first_page(&self) {
        self.change(|state| state.compact_after_page = true);
    }

    /// Ends all watches.
    pub fn cut(&self) {
        self.change(|state| state.age += 1);
    }

    /// The next event ends its watch in the middle.
    pub fn cut_in_object(&self) {
        self.change(|state| state.cut_in_object = true);
    }

    /// What it was asked for, paths with their queries, in this order.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// Waits until it is asked for something that begins so.
    pub fn until_asked(&self, what: &str) {
        let is_asked = |state: &mut State| state.asked.iter().any(|asked| asked.starts_with(what));
        let (lock, changed) = &*self.shared;
        let state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(state, PATIENCE, |state| !is_asked(state));
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "{what} in {:?}", state.asked);
    }

    /// The version of all that has happened.
    pub fn version(&self) -> u64 {
        self.state().version
    }

    fn answer(&self, connection: TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(connection.try_clone()?).lines();
        let mut connection = connection;
        while let Some(first) = lines.next() {
            let first = first?;
            for line in lines.by_ref() {
                if line?.is_empty() {
                    break;
                }
            }
            let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            let query: BTreeMap<&str, &str> = query
                .split('&')
                .filter_map(|part| part.split_once('='))
                .collect();
            let (fault, is_served) = {
                let mut state = self.state();
                state.asked.push(target.clone());
                self.shared.1.notify_all();
                let is_served = state.served.contains(path);
                (state.faults.get(path).cloned(), is_served)
            };
            match fault {
                Some(Fault::Status(code)) => status(&mut connection, code, path)?,
                Some(Fault::Silent) => {
                    thread::sleep(Duration::from_mins(5));
                    return Ok(());
                }
                Some(Fault::Says(bytes)) => {
                    write!(
                        connection,
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        bytes.len()
                    )?;
                    connection.write_all(&bytes)?;
                }
                Some(Fault::Flood(piece, times)) => {
                    connection
                        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                    for _ in 0..times {
                        chunk(&mut connection, piece)?;
                    }
                    return Ok(());
                }
                None if !is_served => match self.discovery(path) {
                    Some(body) => ok(&mut connection, &body.to_string())?,
                    None => status(&mut connection, 404, path)?,
                },
                None if query.contains_key("watch") => {
                    return self.watch(&mut connection, path, &query);
                }
                None => self.list(&mut connection, path, &query)?,
            }
        }
        Ok(())
    }

    /// Which versions a group has (`/apis/GROUP`), and which kinds a version (`/apis/GROUP/VERSION`).
    fn discovery(&self, path: &str) -> Option<Value> {
        let state = self.state();
        let below = format!("{path}/");
        let served = state.served.iter();
        let rests: Vec<&str> = served.filter_map(|it| it.strip_prefix(&below)).collect();
        match path.strip_prefix("/apis/")?.split_once('/') {
            _ if rests.is_empty() => None,
            None => {
                let versions: BTreeSet<&str> =
                    rests.iter().filter_map(|it| it.split('/').next()).collect();
                let version = |version| {
                    let group = path.trim_start_matches("/apis/");
                    json!({"groupVersion": format!("{group}/{version}"), "version": version})
                };
                let versions: Vec<Value> = versions.into_iter().map(version).collect();
                Some(json!({"kind": "APIGroup", "apiVersion": "v1", "versions": versions}))
            }
            Some(_) => {
                let kinds: Vec<Value> = rests.iter().map(|it| json!({"name": it})).collect();
                Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "resources": kinds}))
            }
        }
    }

    fn list(
        &self,
        connection: &mut TcpStream,
        path: &str,
        query: &BTreeMap<&str, &str>,
    ) -> io::Result<()> {
        let limit = query.get("limit").and_then(|limit| limit.parse().ok());
        let limit: usize = limit.unwrap_or(usize::MAX);
        let body = {
            let mut state = self.state();
            let token = query
                .get("continue")
                .and_then(|token| token.split_once('.'));
            let number = |text: &str| text.parse::<u64>().unwrap_or_default();
            let (version, from) = match token {
                Some((version, from)) => (number(version), number(from)),
                None => (state.version, 0),
            };
            let of_it = state.objects.iter().filter(|((of, _), _)| of == path);
            let all: Vec<Value> = of_it.map(|(_, object)| object.clone()).collect();
            let key = (path.to_owned(), version);
            let is_known = token.is_none() || state.lists.contains_key(&key);
            let body = is_known.then(|| {
                let list = state.lists.entry(key.clone()).or_insert(all);
                let from = usize::try_from(from).unwrap_or_default();
                let page: Vec<&Value> = list.iter().skip(from).take(limit).collect();
                let next = from + page.len();
                let token = (next < list.len()).then(|| format!("{version}.{next}"));
                json!({"kind": "List", "apiVersion": "v1", "items": page, "metadata": {
                    "resourceVersion": version.to_string(), "continue": token.unwrap_or_default()}})
                .to_string()
            });
            let has_more = state.lists.get(&key).is_some_and(|list| list.len() > limit);
            if has_more && std::mem::take(&mut state.compact_after_page) {
                state.lists.clear();
            }
            body
        };
        match body {
            Some(body) => ok(connection, &body),
            None => status(connection, 410, path),
        }
    }

    fn watch(
        &self,
        connection: &mut TcpStream,
        path: &str,
        query: &BTreeMap<&str, &str>,
    ) -> io::Result<()> {
        let since = query.get("resourceVersion").and_then(|it| it.parse().ok());
        let mut since: u64 = since.unwrap_or_default();
        connection.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let age = self.state().age;
        loop {
            let (mut lines, is_cut, is_over) = {
                let waited = self
                    .shared
                    .1
                    .wait_timeout_while(self.state(), BOOKMARK, |state| {
                        let is_new =
                            |event: &(u64, String, _, _)| event.0 > since && event.1 == path;
                        !state.events.iter().any(is_new)
                            && state.age == age
                            && state.compacted <= since
                    });
                let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if state.compacted > since {
                    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410,
                        "message": "too old resource version"}});
                    chunk(connection, format!("{gone}\n").as_bytes())?;
                    return connection.write_all(b"0\r\n\r\n");
                }
                let mut lines = String::new();
                for (version, of, kind, object) in &state.events {
                    if *version > since && of == path {
                        lines += &json!({"type": kind, "object": object}).to_string();
                        lines.push('\n');
                    }
                }
                let is_cut = !lines.is_empty() && std::mem::take(&mut state.cut_in_object);
                since = state.version;
                if lines.is_empty() {
                    lines = format!(
                        "{}\n",
                        json!({"type": "BOOKMARK", "object": {
                        "metadata": {"resourceVersion": since.to_string()}}})
                    );
                }
                (lines, is_cut, state.age != age)
            };
            if is_cut {
                lines.truncate(lines.len() / 2);
                return chunk(connection, lines.as_bytes());
            }
            chunk(connection, lines.as_bytes())?;
            if is_over {
                return connection.write_all(b"0\r\n\r\n");
            }
        }
    }
}

fn called(object: &Value) -> String {
    let part = |key: &str| {
        object["metadata"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    format!("{}/{}", part("namespace"), part("name"))
}

fn status(connection: &mut TcpStream, code: u16, path: &str) -> io::Result<()> {
    let body = json!({"kind": "Status", "code": code, "message": format!("{path} says {code}")})
        .to_string();
    write!(
        connection,
        "HTTP/1.1 {code} Oh\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ok(connection: &mut TcpStream, body: &str) -> io::Result<()> {
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chunk(connection: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    write!(connection, "{:x}\r\n", bytes.len())?;
    connection.write_all(bytes)?;
    connection.write_all(b"\r\n")
}

/// A pod on a node, as the API has it.
pub fn pod(namespace: &str, name: &str, node: &str, address: &str, label: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}"),
            "labels": {"app": label}, "managedFields": [{"manager": "kubelet", "operation": "Update"}]},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "x",
            "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "hostIP": "192.0.2.1", "startTime": "2026-01-01T00:00:00Z",
            "containerStatuses": [{"containerID": format!("containerd://id-{name}")}]},
    })
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"team": name}}})
}

/// A node.
pub fn node(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"zone": "a"}},
        "spec": {"podCIDRs": ["10.1.0.0/16"]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}
