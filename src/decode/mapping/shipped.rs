//! The mappings that come with authseal, in the binary.

use crate::artifact::File;

/// Name and text of each.
pub const SHIPPED: &[(&str, &str)] = &[
    ("auth0", include_str!("../../../schemas/mappings/auth0.toml")),
    ("google-workspace-login", include_str!("../../../schemas/mappings/google-workspace-login.toml")),
    ("keycloak-event", include_str!("../../../schemas/mappings/keycloak-event.toml")),
    ("okta-system-log", include_str!("../../../schemas/mappings/okta-system-log.toml")),
    ("sshd", include_str!("../../../schemas/mappings/sshd.toml")),
    ("entra", include_str!("../../../schemas/mappings/entra.toml")),
    ("cloudtrail", include_str!("../../../schemas/mappings/cloudtrail.toml")),
    ("ecs", include_str!("../../../schemas/mappings/ecs.toml")),
    ("ocsf", include_str!("../../../schemas/mappings/ocsf.toml")),
    ("duo", include_str!("../../../schemas/mappings/duo.toml")),
];

/// A shipped mapping as a file, by its name.
pub fn shipped(name: &str) -> Option<File> {
    let (name, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
    Some(File { path: format!("schemas/mappings/{name}.toml"), bytes: text.as_bytes().to_vec() })
}
