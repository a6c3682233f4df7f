/** What docs/configuration.md says of further inboxes. */
export const INBOXES = `
## Several inboxes

The inbox in \`DATA_DIR\` is always there. \`INBOXES_FILE\` is a JSON file with a list of others, on this disk or on shares:

\`\`\`json
[
  {
    "name": "legal",
    "path": "/mnt/legal/signing",
    "tenant": "acme",
    "defaults": { "signer": { "email": "ana@example.com", "mobile_phone_number": "+34699999999" } },
    "settle": "10s",
    "sweep": "30s",
    "on_success": "keep",
    "results": "{date}/{name}"
  }
]
\`\`\`

| Field | Default | What it is for |
|---|---|---|
| \`name\` | | small letters, digits and \`-\`; in records, metrics and logs |
| \`path\` | | its folder, seen from the folder of the file; outside \`DATA_DIR\`. Run \`signpipe inbox init NAME\` once: it puts the file \`.signing-root\` there, without which nothing is touched |
| \`tenant\` | | on whose account all of it is; a manifest that names another one is refused |
| \`rao\`, \`workflow\`, \`defaults\` | | what manifests say where they leave it out; with a \`signer\` a PDF may come alone |
| \`watch\` | \`auto\` | \`native\`: events and listings; \`poll\`: listings alone; \`auto\` polls on shares |
| \`route\`, \`route_values\` | | folders that lead to files, and which there may be: [below](#folders-that-say-whose-a-file-is) |
| \`mode\`, \`source\` | \`move\` | \`copy\`: files are copied from the folder \`source\`, and stay there: [below](#sources-that-are-only-read) |
| \`settle\`, \`folder_settle\`, \`incomplete\`, \`settle_max\`, \`sweep\` | as \`INBOX_*\` | the same for this one, like \`"30s"\`. On NFS and SMB \`settle\` is at least twice the time for which the share may show a file as it was (\`acregmin\`, \`actimeo\` in \`/proc/mounts\`), unless it is set here |
| \`sidecar_wait\` | six times \`settle\` | how long a PDF waits for its JSON file |
| \`protocol\` | \`settle\` | \`rename-in\`: files come whole, by renaming; \`done-file\`: \`NAME.done\` says that \`NAME\` is complete; \`manifest\`: only with a JSON file of their own |
| \`duplicates\` | \`set-aside\` | \`accept\`: signed again; \`link\`: set aside, and given the earlier result of the same document |
| \`duplicates_for\` | \`90d\` | for how long a document counts as handed in before; at most as long as its record is kept. After Redis was lost, 90 days |
| \`on_success\` | \`archive\` | the original: \`keep\` beside the result, \`delete\`. The originals of a folder with a table are archived in any case |
| \`folders\` | | other names for \`inbox\`, \`signed\`, \`failed\`, \`duplicates\`, \`archive\`, \`status\` |
| \`ignore\` | | patterns of names that are left alone, like \`["*.bak"]\` |
| \`in_flight\` | | most that are under way at once; the rest stays in the inbox |
| \`in_flight_per_tenant\` | | the same for each tenant, where \`tenant\` or the route says whose a file is |
| \`oldest_most\` | | a file that could be taken and waits for longer makes \`/health\` say so, and \`late\` 1 in the metrics |
| \`heartbeat\` | \`false\` | \`true\`: \`.watcher-alive\` in its folder has the time of the last listing |
| \`results\` | \`{requestId}\` | folders for results: \`{requestId}\`, \`{name}\`, \`{date}\`, \`{tenant}\`, \`{reference}\` |
| \`bundle\` | off | \`{ "window": "10m" }\`: PDFs that come alone for the same signer [become one request](inbox.md#several-files-for-one-signer); \`most\`: of so many at the most, 10 or fewer |
| \`purge\` | never | ages like \`"90d"\` after which \`archive\`, \`failed\` and \`duplicates\` are emptied |

### Folders that say whose a file is

\`\`\`json
{
  "name": "lending",
  "path": "/mnt/lending",
  "route": "{tenant}/{profile}/{batch?}/",
  "route_values": { "profile": ["ESSANLong", "ESSANShort"] },
  "defaults": { "signer": { "email": "ana@example.com", "mobile_phone_number": "+34699999999" } }
}
\`\`\`

What is dropped into \`inbox/acme/ESSANLong/\` is signed for the tenant \`acme\` with that profile. A level is \`{tenant}\`,
\`{rao}\`, \`{profile}\`, \`{workflow}\`, \`{approval}\`, \`{appearance}\` (a template of \`APPEARANCE_DIR\`), or a folder that is
always called the same; there are up to six. \`{batch?}\` at the end may be left out; \`{batch}\` means that only folders are
taken there, each as one request or [batch](batches.md#or-drop-the-folder). \`route_values\` says which folders there may be.
Of \`{tenant}\` these are otherwise all tenants, of \`{workflow}\` and \`{approval}\` all that there are, of \`{rao}\` the officers of
the inbox's tenant; \`{profile}\` and \`{appearance}\` have to be named. Capitals make no difference in names of folders.

The folders of the route stay when what is in them is taken. \`signpipe inbox init NAME\` makes them; you may as well.
A manifest may repeat what its folders say, and say nothing else. \`defaults.json\` speaks for its own folder and those
below; the nearest one counts. What comes back lies under the same folders, in \`failed\`, \`status\`, \`signed\` and the others. In
a folder that is not known nothing is taken: \`_ERROR.txt\` in it says so after a minute.

### Sources that are only read

\`\`\`json
{ "name": "scans", "path": "data/inboxes/scans", "mode": "copy", "source": "/mnt/scanner" }
\`\`\`

Files are copied from \`source\`, where nothing is ever written, renamed or removed. \`path\` is a folder of its own for
everything else (\`status\`, \`failed\`, \`signed\`, …), with its \`.signing-root\`; unlike that of other inboxes it may be in
\`DATA_DIR/inboxes\`. A ledger, \`.work/gate/ledger.jsonl\`, says which files were taken: keep it together with the folder. A
file that changes is taken again, and so is one whose JSON file does; the same bytes under another name, or with another
time, are what \`duplicates\` says. To have a file tried again that failed, change its JSON file, or \`signpipe retry\` its
request. \`on_success\` is about the copy. A file that was gone for 30 days is forgotten.
`;
