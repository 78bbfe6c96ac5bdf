//! Who may ask, and how: by a web configuration that is followed while it changes, as are the
//! certificates that it names.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tokio_rustls::TlsAcceptor;

use super::{login::Login, tls};
use crate::config::{self, Problem, web::Web};

/// What stands before the answers. All files are looked at when somebody connects, and read again if one
/// has changed; what can't be used changes nothing.
pub struct Guard {
    path: PathBuf,
    state: Mutex<State>,
}

/// Files, and how they were before they were read.
type Seen = Vec<(PathBuf, Option<Stamp>)>;

struct State {
    seen: Seen,
    current: Arc<Protection>,
}

/// Device, inode, bytes, and when it was changed.
type Stamp = (u64, u64, u64, i64, i64);

/// What holds for a connection.
pub(super) struct Protection {
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) login: Login,
    pub(super) headers: HeaderMap,
}

impl Guard {
    /// By this web configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Vec<Problem>> {
        let (seen, protection) = read(path);
        let current = Arc::new(protection?);
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State { seen, current }),
        })
    }

    /// Is it TLS that is spoken?
    pub fn is_tls(&self) -> bool {
        self.current().acceptor.is_some()
    }

    pub(super) fn current(&self) -> Arc<Protection> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let has_changed = |(path, seen): &(PathBuf, _)| stamp(path) != *seen;
        if state.seen.iter().any(has_changed) {
            let (seen, protection) = read(&self.path);
            state.seen = seen;
            match protection {
                Ok(protection) => {
                    state.current = Arc::new(protection);
                    tracing::info!("the web configuration or a certificate was read anew");
                }
                Err(problems) => {
                    for Problem { place, message, .. } in problems {
                        tracing::error!("{place}: {message}; what was read before stays in force");
                    }
                }
            }
        }
        Arc::clone(&state.current)
    }
}

impl Protection {
    /// None.
    pub(super) fn none() -> Self {
        Self {
            acceptor: None,
            login: Login::of(std::collections::BTreeMap::new()),
            headers: HeaderMap::new(),
        }
    }

    fn of(web: Web) -> Result<Self, Problem> {
        let acceptor = web.tls.as_ref().map(tls::server).transpose()?;
        let headers = web.headers.iter().filter_map(|(name, value)| {
            let name: HeaderName = name.parse().ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        Ok(Self {
            acceptor: acceptor.map(TlsAcceptor::from),
            headers: headers.collect(),
            login: Login::of(web.users),
        })
    }
}

/// The files that it is made of, and what they say.
fn read(path: &Path) -> (Seen, Result<Protection, Vec<Problem>>) {
    let seen = |path: &Path| (path.to_owned(), stamp(path));
    let mut files = vec![seen(path)];
    let name: Arc<str> = path.display().to_string().into();
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| {
        let place = config::Place::of_file(Arc::clone(&name));
        vec![Problem::unreadable(
            place,
            format!("it can't be read: {error}"),
        )]
    });
    let folder = path.parent().unwrap_or(Path::new(""));
    let web = text.and_then(|text| config::web::read(&name, &text, folder));
    let protection = web.and_then(|web| {
        if let Some(tls) = &web.tls {
            let ca = tls.clients.as_ref().map(|clients| &clients.ca);
            let named = [&tls.cert, &tls.key].into_iter().chain(ca);
            files.extend(named.map(|file| seen(&file.path)));
        }
        Protection::of(web).map_err(|problem| vec![problem])
    });
    (files, protection)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let it = fs::metadata(path).ok()?;
    Some((it.dev(), it.ino(), it.size(), it.ctime(), it.ctime_nsec()))
}
