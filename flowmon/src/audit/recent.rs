//! A map that forgets what was not asked for in a long time.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Keeps what was used lately: in two generations, the older of which is forgotten as a whole when
/// the younger is full. What is asked for becomes young again.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    young: Map<V>,
    old: Map<V>,
    generation: usize,
    forgotten: u64,
}

type Map<V> = HashMap<u128, V, BuildHasherDefault<AlreadyHashed>>;

impl<V> Recent<V> {
    /// Keeps so many at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            young: Map::default(),
            old: Map::default(),
            generation: (most / 2).max(1),
            forgotten: 0,
        }
    }

    /// How many were forgotten so far.
    pub(crate) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes what is kept for this key.
    pub(crate) fn remove(&mut self, key: u128) -> Option<V> {
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }

    /// What is kept for this key.
    pub(crate) fn get_mut(&mut self, key: u128) -> Option<&mut V> {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key)?;
            self.insert(key, value);
        }
        self.young.get_mut(&key)
    }

    /// Keeps a value for a key that has none.
    pub(crate) fn insert(&mut self, key: u128, value: V) {
        if self.young.len() >= self.generation {
            let younger = std::mem::take(&mut self.young);
            self.forgotten += std::mem::replace(&mut self.old, younger).len() as u64;
        }
        self.young.insert(key, value);
    }
}

/// Keys are hashes themselves.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of it will do")]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_no_more_than_the_most() {
        let mut recent = Recent::new(100);
        recent.insert(0, 0);
        for key in 1..1000 {
            recent.insert(key, key);
            assert_eq!(recent.get_mut(0), Some(&mut 0));
            assert_eq!(recent.remove(key), Some(key));
            recent.insert(key, key);
            let kept = recent.young.len() + recent.old.len();
            assert!(kept <= 100, "{kept}");
            let all = u64::try_from(key + 1).unwrap_or_default();
            assert_eq!(recent.forgotten() + kept as u64, all);
        }
        assert_eq!(recent.get_mut(1), None);
        assert_eq!(recent.get_mut(998), Some(&mut 998));
    }

    #[test]
    fn nothing_is_forgotten_while_there_is_room() {
        let mut recent = Recent::new(100);
        (0..100).for_each(|key| recent.insert(key, key));
        assert_eq!(recent.forgotten(), 0);
        assert!((0..100).all(|key| recent.remove(key) == Some(key)));
    }
}
