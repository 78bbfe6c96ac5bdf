//! Users and their passwords (HTTP Basic, RFC 7617).

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;
use tokio::sync::Semaphore;

/// Logins that may wait for their turn; who comes then is told to come again. One is looked at at a time:
/// bcrypt is slow on purpose, and guessing is to cost flowmon one processor at most.
const WAITING: usize = 4;

/// What becomes of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    Refused,
    /// Too many at once.
    Busy,
}

/// Who may log in.
pub(super) struct Login {
    /// bcrypt's hashes; where there is nobody, nobody is asked.
    users: BTreeMap<String, String>,
    /// Of each user's password, once it was right: a scrape each second is not to cost what bcrypt does.
    /// A secret of this process is in it, so it says nothing of the password to who reads it.
    right: Mutex<HashMap<String, [u64; 2]>>,
    secrets: [RandomState; 2],
    waiting: Semaphore,
    turn: Arc<Semaphore>,
}

impl Login {
    pub(super) fn of(users: BTreeMap<String, String>) -> Self {
        Self {
            users,
            right: Mutex::default(),
            secrets: [RandomState::new(), RandomState::new()],
            waiting: Semaphore::new(WAITING),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// By the header `Authorization`.
    pub(super) async fn admits(&self, header: Option<&HeaderValue>) -> Admission {
        // Who has no such name is looked at as long as who has.
        let Some(somebody) = self.users.values().next() else {
            return Admission::Granted;
        };
        let Some((name, password)) = header.and_then(credentials) else {
            return Admission::Refused;
        };
        let tag = self
            .secrets
            .each_ref()
            .map(|it| it.hash_one((&name, &password)));
        let right = || self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right().get(&name) == Some(&tag) {
            return Admission::Granted;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Admission::Busy;
        };
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return Admission::Busy; // it is never closed
        };
        let hash = self.users.get(&name).unwrap_or(somebody).clone();
        let compared = tokio::task::spawn_blocking(move || {
            // To the end, whether or not who asked is still there.
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        let is_right = compared.await.unwrap_or(false);
        if is_right && self.users.contains_key(&name) {
            right().insert(name, tag);
            Admission::Granted
        } else {
            Admission::Refused
        }
    }
}

/// Name and password.
fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let mut decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((String::from_utf8(decoded).ok()?, password))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::future::poll_fn;

    use super::*;

    fn header(user: &str, password: &str) -> HeaderValue {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        HeaderValue::from_str(&format!("Basic {encoded}")).unwrap()
    }

    fn login() -> Login {
        let hash = bcrypt::hash("right", 4).unwrap();
        Login::of(BTreeMap::from([("alice".to_owned(), hash)]))
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn a_login_that_was_right_takes_no_turn_and_those_that_wait_are_few() {
        let login = login();
        let (right, wrong) = (header("alice", "right"), header("alice", "wrong"));
        run(async {
            assert_eq!(login.admits(Some(&right)).await, Admission::Granted);
            // From here on nobody is looked at.
            let turn = Arc::clone(&login.turn).acquire_owned().await.unwrap();
            let mut waiting: Vec<_> = (0..WAITING)
                .map(|_| Box::pin(login.admits(Some(&wrong))))
                .collect();
            for guess in &mut waiting {
                let is_pending = poll_fn(|context| {
                    std::task::Poll::Ready(guess.as_mut().poll(context).is_pending())
                });
                assert!(is_pending.await);
            }
            assert_eq!(login.admits(Some(&wrong)).await, Admission::Busy);
            assert_eq!(login.admits(Some(&right)).await, Admission::Granted);
            drop(turn);
            for guess in waiting {
                assert_eq!(guess.await, Admission::Refused);
            }
        });
    }

    #[test]
    fn what_was_wrong_is_not_remembered() {
        let login = login();
        run(async {
            for (user, password) in [("alice", "wrong"), ("bob", "right"), ("", "")] {
                for _ in 0..2 {
                    let said = login.admits(Some(&header(user, password))).await;
                    assert_eq!(said, Admission::Refused);
                }
            }
            assert_eq!(login.admits(None).await, Admission::Refused);
        });
        assert!(login.right.lock().unwrap().is_empty());
    }
}
