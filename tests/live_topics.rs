//! Topics that match a pattern, as the binary reads them from a real Kafka: one that is there, one that appears, one
//! that is compacted, and a partition that is added.
#![allow(clippy::unwrap_used, clippy::expect_used)] // what fails here must end the test

mod live;

use live::{Live, Record, Site, authseal, create_compacted, create_topics, publish, show, unique};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use serde_json::{Value, json};

fn records(count: u64, partition: i32) -> impl Iterator<Item = Record> {
    (0..count).map(move |n| {
        let value = json!({"event_id": format!("{partition}-{n}"), "time": "2026-01-01T00:00:00Z", "activity": "LOGON",
            "outcome": "SUCCESS", "user": "u", "src_ip": "10.0.0.1"});
        Record { value: Some(value.to_string().into()), partition: Some(partition), ..Record::default() }
    })
}

async fn add_partitions(kafka: &str, topic: &str, count: usize) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka).create().unwrap();
    for result in admin.create_partitions(&[NewPartitions::new(topic, count)], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_match_are_read_whenever_they_appear_and_compacted_ones_are_refused() {
    let Some(live) = Live::get() else { return };
    let prefix = unique("found");
    let [first, later, compacted] = ["first", "later", "compacted"].map(|name| format!("{prefix}.{name}"));
    // chains begin with what comes next, but for partitions that are added
    let site = Site::new(&live, &first, 1, "json", "").await;
    create_compacted(&live.kafka, &compacted, 1).await;
    publish(&live.kafka, &first, records(30, 0));
    let file = site.path("authseal.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let named = format!("name = \"{first}\"\n");
    assert!(text.contains(&named));
    let both = format!("{named}start = \"end\"\nformat = \"json\"\n[[topics]]\npattern = '{prefix}\\..*'\n");
    let quick = "[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = \"500\"\n";
    std::fs::write(&file, text.replace(&named, &both).replace("[kafka.properties]\n", quick)).unwrap();

    let checked = authseal().args(["config", "check", "--json", "-c"]).arg(&file).output().unwrap();
    let json: Value = serde_json::from_slice(&checked.stdout).unwrap_or_else(|e| panic!("{e}: {}", show(&checked)));
    let expected = json!([{"pattern": format!("{prefix}\\..*"), "topics": [compacted], "refused": [compacted]}]);
    assert_eq!(json["matching"]["patterns"], expected, "what is named is not found: {json:#}");

    let one = site.run("one");
    let log = |text: &str| {
        for _ in 0..600 {
            if site.log("one").contains(text) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{text:?} is not in the log\n{}", site.log("one"));
    };
    log("source_compacted");
    log("partition opened");
    // before anybody knows of them
    create_topics(&live.kafka, &[(&later, 1)]).await;
    publish(&live.kafka, &later, records(20, 0));
    add_partitions(&live.kafka, &first, 2).await;
    publish(&live.kafka, &first, records(10, 1));
    let report = site.wait_until_sealed(&live, 30, 60);
    assert_eq!(report["totals"]["events"], json!(30), "{report:#}");
    assert_eq!(one.terminate(), Some(1), "a partition had stopped\n{}", site.log("one"));
    let (code, report) = site.verify(&site.store(&live));
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["totals"]["gaps"]["before_chain"], json!(30), "those before the start: {report:#}");
}
