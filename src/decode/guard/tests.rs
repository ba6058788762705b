//! What names say.

use super::names::{Strength, classify, classify_within, replayable};

/// Names, parted by spaces.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

#[test]
fn names_of_templates_and_images_are_told_from_names_about_them() {
    for name in words(
        "fingerprint_template fingerprintTemplate FINGERPRINT_TEMPLATE fingerprinttemplate face_image \
        faceImage FaceImage faceimage facial-image face.template iris_code irisCode iriscode iris.image \
        voiceprint voice_print voicePrints minutiae finger_minutiae selfie biometric_template \
        biometricTemplate BiometricTemplates biometric_data retina_image palm_vein_template \
        left_thumb_image face_image_base64 face_image_2 user_face_photo fingerprint_wsq \
        fingerprint_image_left face_embedding voice_recording device_face_image \
        device_fingerprint_template faceprint IRISCode id_face_img hand_image",
    ) {
        assert_eq!(classify(name).strength, Strength::Strong, "{name}");
    }
    for name in ["face_scan", "fingerprint_data", "voice_sample", "iris_raw", "faceData", "finger_scan", "face_b64"] {
        assert_eq!(classify(name).strength, Strength::Weak, "{name}");
    }
    for name in words(
        "fingerprint device_fingerprint tls_fingerprint ssh_key_fingerprint fingerprint_sha256 ja4 \
        cert_fingerprint device_fingerprint_data thumbprint credential_id face_image_id face_id faceid \
        template_id email_template image container_image surface_image interface_data typeface_template \
        biometric biometric_id biometric_type biometric_result iris voice face_image_url face_match_score \
        has_face_image is_face_photo irish_template user_id browser_fingerprint_vector \
        client_fingerprint_raw factor fingerprint_enrolled palm_print face_image_quality voice_call \
        postal_code src_port _ données face_template_version_2",
    ) {
        assert_eq!(classify(name).strength, Strength::None, "{name}");
    }
}

#[test]
fn names_are_read_within_the_names_around_them() {
    let within = |outer: &str, name: &str| classify_within(name, classify(outer)).strength;
    assert_eq!(within("face", "image"), Strength::Strong);
    assert_eq!(within("biometrics", "fingerprint_template"), Strength::Strong);
    assert_eq!(within("biometric", "template"), Strength::Strong);
    assert_eq!(within("face_image", "data"), Strength::Strong);
    assert_eq!(within("face_image", "left"), Strength::Strong);
    assert_eq!(within("face_image", "format"), Strength::None);
    assert_eq!(within("face", "score"), Strength::None);
    assert_eq!(within("details", "template"), Strength::None);
    assert_eq!(within("voice", "call"), Strength::None);
}

#[test]
fn replayable_attributes_are_known_by_their_names() {
    for (name, want) in [
        ("refresh_token", Some("token")),
        ("refresh_token_id", Some("token")),
        ("JSESSIONID", Some("session")),
        ("sessionId", Some("session")),
        ("Set-Cookie", Some("session")),
        ("details.password", Some("token")),
        ("token_type", None),
        ("session_start", None),
        ("amount", None),
    ] {
        assert_eq!(replayable(name), want, "{name}");
    }
}
