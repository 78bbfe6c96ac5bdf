//! What holds of any line of a flow log.

use flowmon::replay::{Entry, Identities, Log};

/// Every line that is not blank is one entry. The verdict of a record is a part of its line, to be
/// replaced there.
pub(crate) fn check(log: &[u8]) {
    let (mut identities, mut entries) = (Identities::new(), 0);
    let mut reader = Log::new(log);
    loop {
        match reader.next_entry() {
            Ok(Some(Entry::Flow(record, line))) => {
                assert_eq!(identities.of(&record), identities.of(&record));
                assert!(line.starts_with('{') && line.ends_with('}'));
                if let Some(verdict) = record.verdict {
                    assert!(line.contains(verdict.get()));
                }
                entries += 1;
            }
            Ok(Some(Entry::Summary(_) | Entry::Foreign(_))) => entries += 1,
            Ok(Some(Entry::Unreadable(why))) => {
                assert!(!why.is_empty());
                entries += 1;
            }
            Ok(None) => break,
            Err(error) => panic!("a slice can be read: {error}"),
        }
    }
    let blank = |line: &&[u8]| !line.trim_ascii().is_empty();
    assert_eq!(
        entries,
        log.split(|byte| *byte == b'\n').filter(blank).count()
    );
}
