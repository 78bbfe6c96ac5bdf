//! Which versions of a kind the API server has, of those that flowmon does not know.

use serde::Deserialize;

use super::api::Api;

/// Versions of a group that are looked into.
const MOST: usize = 16;

/// `APIGroup` of `meta/v1`.
#[derive(Deserialize)]
struct Group {
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

/// `APIResourceList` of `meta/v1`.
#[derive(Deserialize)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
}

/// The versions of the kind's group (`/apis/GROUP`) that are not known, the one that the server
/// prefers last.
pub(super) fn others(api: &Api, group: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    let Group { versions } = serde_json::from_slice(group)?;
    let prefix = format!("{}/", api.discoverable().unwrap_or_default());
    let is_other = |version: &String| {
        let name = version.strip_prefix(&prefix).unwrap_or_default();
        let is_name = !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric());
        is_name && !api.versions.contains(&version.as_str())
    };
    let versions = versions.into_iter().map(|it| it.group_version);
    let mut others: Vec<String> = versions.filter(is_other).take(MOST).collect();
    others.reverse();
    Ok(others)
}

/// Is the kind in this version (`/apis/GROUP/VERSION`)?
pub(super) fn has(api: &Api, resources: &[u8]) -> Result<bool, serde_json::Error> {
    let Resources { resources } = serde_json::from_slice(resources)?;
    Ok(resources.iter().any(|it| it.name == api.plural))
}
