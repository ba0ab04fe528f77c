"""What people write into tickets: plain, long, quoted, multi-line and in several scripts."""

from __future__ import annotations

from random import Random

PEOPLE = (
    ("Aubrey Ensono", "aubrey.ensono@ensono.example"),
    ("Jörg Müller-Lüdenscheidt", "joerg.mueller@ensono.example"),
    ("Siobhán O'Brien", "siobhan.obrien@ensono.example"),
    ("山田 太郎", "taro.yamada@ensono.example"),
    ("Ensono User", "Ensono.User@ensono.example"),
)
GROUPS = (
    ("Ensono Support", "CS - 1st Line"),
    ("Network Operations", "US - Network Support"),
    ("Mainframe", "UK - z/OS Systems"),
    ("Storage, Backup & Restore", "US - Storage"),
    ("CLIENT - Ensono Other", "Platform BPMDevandSupport"),
)
TROUBLES = (
    (
        "Batch job PAYR0420 abended with S0C7",
        "Step 030 of PAYR0420 ended with S0C7.\r\nLast good run: yesterday 02:10 UTC.",
    ),
    ("VPN drops every 20 minutes", 'Users in Chicago see "session expired"\tabout three times an hour.'),
    ("CPU above 95 % on lpar PRD2", "RMF shows CPU at 97 % since 06:00; WLM discretionary work is starved."),
    ("File share \\\\nas04\\hr not reachable", "Error 0x80070035 from C:\\Windows; \\\\nas04\\finance works."),
    ("Backup of ORA-PRD7 failed: RMAN-03009", "RMAN-03009: failure of backup command on ch1 channel\nORA-19502"),
    ("Zertifikat für portal.example läuft ab", "Gültig bis Sonntag – bitte vorher tauschen. Größe 4096 Bit."),
    (
        "MQ channel TO.CLIENT in RETRYING",
        "AMQ9202E: Remote host not available, retry later. ⚠️ 1,204 messages on the queue",
    ),
    ("Monthly access review for contractors", "Please confirm or revoke the 37 accounts on the attached list."),
)
CHANGES = (
    ("Replace core switch sw-core-02", "Replace the switch in rack B4 with the pre-configured spare."),
    ("Apply z/OS RSU2403 to PRD2", "Apply the quarterly service level; rolling IPL, no outage planned."),
    ("Rotate TLS certificate of the API gateway", "New chain: R11 → ISRG Root X1. Old one expires in 9 days."),
    ("Extend /var on 14 Linux hosts", "lvextend +20G, online; hosts as in the list of CIs."),
    ("Upgrade Db2 for LUW 11.5.8 → 11.5.9", 'Fix pack install, then "db2updv115" on each database.'),
)
SENTENCES = (
    "Working with the vendor, case 7-8841-22.",
    "User confirmed that it works again.",
    "Restarted the started task; watching it for an hour.",
    'The log says "connection reset by peer" each time.',
    "See C:\\temp\\trace.log, lines 120-180.",
    "Moved to the network team, because DNS looks wrong.",
    "Naïve question: was the façade rule changed on Friday? 🤔",
    "Bitte um Rückruf – Nummer steht im Ticket.",
    "再起動後に正常になりました。",
    "1\tok\r\n2\tok\r\n3\tfailed",
)
CLOSE_NOTES = (
    "Restarted the service and confirmed with the user.",
    'Root cause: expired password of "svc_batch".\nPassword changed, job rerun.',
    "No fault found; monitoring threshold raised to 98 %.",
    "Duplicate of another ticket.",
)
FILES = (
    ("rocket.jpg", "image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"),
    ("dump-analysis.pdf", "application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
    ("console log.txt", "text/plain", b"2023-01-27 22:24:53 IEF450I PAYR0420 - ABEND\n"),
    ("screenshot.png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ("Überblick.zip", "application/zip", b"PK\x03\x04"),
)


def write_note(rng: Random) -> str:
    """Write a comment of one to four sentences; a few are as long as the guide allows (4000 characters)."""
    if rng.random() < 0.03:
        return ("IEF450I PAYR0420 STEP030 - ABEND=S0C7 U0000 REASON=00000000\n" * 70)[:4000]
    return " ".join(rng.choice(SENTENCES) for _ in range(rng.randrange(1, 5)))
