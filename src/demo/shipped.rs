//! The rules that are shipped, in the binary: the demo needs nothing but itself.

/// Path below `rules/` and text of a file.
macro_rules! shipped {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../rules/", $path)))),*] };
}

/// The shipped rules, their tests and lists.
pub const RULES: &[(&str, &str)] = shipped! {
    "account_many_sources.rhai"
    "account_many_sources.test.rhai"
    "brute_force.rhai"
    "brute_force.test.rhai"
    "cookie_replay.rhai"
    "cookie_replay.test.rhai"
    "cookieless_automation.rhai"
    "cookieless_automation.test.rhai"
    "credential_stuffing.rhai"
    "credential_stuffing.test.rhai"
    "distributed_spray.rhai"
    "distributed_spray.test.rhai"
    "dormant_account.rhai"
    "dormant_account.test.rhai"
    "impersonation_spree.rhai"
    "impersonation_spree.test.rhai"
    "impossible_travel.rhai"
    "impossible_travel.test.rhai"
    "lists/device_token_sources.txt"
    "lists/grant_automation.txt"
    "lists/privileged_roles.txt"
    "lists/stepup_required.txt"
    "lists/support_desk.txt"
    "lists/trusted_egress.txt"
    "lockout_storm.rhai"
    "lockout_storm.test.rhai"
    "mfa_abandonment.rhai"
    "mfa_abandonment.test.rhai"
    "mfa_reset.rhai"
    "mfa_reset.test.rhai"
    "new_device.rhai"
    "new_device.test.rhai"
    "otp_brute_force.rhai"
    "otp_brute_force.test.rhai"
    "password_spray.rhai"
    "password_spray.test.rhai"
    "privilege_grant.rhai"
    "privilege_grant.test.rhai"
    "push_fatigue.rhai"
    "push_fatigue.test.rhai"
    "push_mismatch.rhai"
    "push_mismatch.test.rhai"
    "rejection_surge.rhai"
    "rejection_surge.test.rhai"
    "repeated_lockout.rhai"
    "repeated_lockout.test.rhai"
    "session_hijack.rhai"
    "session_hijack.test.rhai"
    "session_many_devices.rhai"
    "session_many_devices.test.rhai"
    "session_many_networks.rhai"
    "session_many_networks.test.rhai"
    "step_up_bypass.rhai"
    "step_up_bypass.test.rhai"
    "success_after_attack.rhai"
    "success_after_attack.test.rhai"
    "token_reuse.rhai"
    "token_reuse.test.rhai"
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::Path};

    #[test]
    fn nothing_of_the_folder_is_missing() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        let mut found = BTreeSet::new();
        for folder in ["", "lists/"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    found.insert(format!("{folder}{}", entry.file_name().to_str().unwrap()));
                }
            }
        }
        assert_eq!(RULES.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>(), found);
    }
}
