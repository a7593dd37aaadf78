"""The protocol as data: no I/O, no clock, no event loop. This page is the specification; it is enough to write a peer.

It has order, resumption and reasons. Each message, request, record, limit and code stands as a table in the reference
(``docs/wire.md``, ``asyncblock wire --reference``); ``asyncblock wire --json-schema``, ``--asyncapi`` and
``--sessions`` (whole exchanges, recorded, to replay) are for programs.

**Who talks.** The *mainframe* is above; *executors* (they run blocks) and *clients* (they start and watch sessions)
are below. A process has one *link* to a mainframe, whatever it does there; a link survives its *connections*. A
*session* is one run of a flow, a *job* one run of a block, tried in numbered *attempts*.

**Messages.** A connection moves whole messages in order: a websocket with the subprotocol ``asyncblock.v1`` and
``Authorization: Bearer TOKEN``, at most 4 MiB a message, no compression. A *text* message (by its opcode) is UTF-8
without a byte order mark, one or more lines separated by ``\\n``; each line is JSON without a raw newline. Control
lines are objects with an ``op``; their fields are the dataclasses of ``messages``. Two of them are followed by data
lines: ``batch`` by one for each entry of its ``channels``, ``page`` by as many as its ``lines`` says. A *binary*
message begins with 0x01 and is a chunk of a body (``bodies``). Unknown fields are skipped; where a key stands twice in
a control line other than a request, the last one counts. Which op may come when is the table in ``states``: upwards
``hello`` first, downwards ``welcome`` first, and nothing but ``bye`` before; ``bye`` last; after a ``bye`` whoever sent
it closes the websocket with code 1000. The path is ``/``. The token goes in the header alone, so a browser's
``WebSocket`` isn't enough: a peer needs a library that sets headers, and shows those of a refusal. An answer to the
websocket's request that has no header ``Asyncblock-Mainframe``, whatever its value, isn't the mainframe's.

**Several links on a connection.** A control line may have ``on``, the number of the link that it is about; without it,
that is 0, the link of the connection's first Hello. How many links a connection carries is ``limits.links`` of the
Welcome; where that is missing or 1, link 0 is all. Where it is more, a ``hello`` with another ``on`` greets a further
link, whose ``welcome``, or ``bye``, has the same; then all that the two say of it has, a ``bye`` with ``on`` ends that
link's part of the connection alone, and chunks of it begin with 0x02 and its number (32 bits, big-endian) in place of
0x01. A number isn't used again on a connection. A mainframe that takes one link answers a ``hello`` with ``on`` by
``bye`` with that ``on`` and the code ``links``, and the connection goes on; any other line with ``on`` for a link that
the connection doesn't have is unreadable, as is a binary message that begins with 0x02. This mainframe, and this
package's links, have one a connection.

**Greeting.** Below sends ``hello``: version, its link id (random, for the link's life), boot (random for each process),
generation (counts the link's connections), the resume token of its last Welcome, what it can run, and its open jobs as
``[channel, job_id, attempt]``, ``next_channel``, one past the highest that it was ever given, and the ``epoch`` of that
Welcome. Above answers ``welcome``: epoch (the identity of its journal), the token for the next Hello, ``stored`` (the
highest batch of this link in the journal), how much it has of each body that no record names yet, windows, limits,
heartbeat. A job is open until the batch with its ``BlockFinished`` is acknowledged: name it until then, or it is
dispatched again, and whoever has forgotten it runs the author's code again.
``resumed: false`` says that the mainframe doesn't know a link that has a token, or that its journal is another one
(restored, replaced): nothing sent on it can be continued, and offsets of rows that were read mean nothing there. Drop
its jobs, batches and bodies; on the same connection it goes on as a new one, batches and bodies from 1, requests asked
again, reads from the beginning. After a ``bye`` with ``stop: true`` a process may begin another link, under another
id. A Hello with a known token closes the older connections of that link at once; one with a generation that isn't
higher is turned away (``replaced``, to come back).

**Whose link it is.** The id of a link is public: it stands in the journal. A Hello may bring a ``secret``, chosen by
the link's owner or by whoever started its process, 16 to 200 random characters, the same in each Hello of the link;
then the Welcome's token is the same. Whatever is claimed about a link that the mainframe knows needs its secret or
token: to continue it (``link``, whatever the epoch; with the secret alone where the first Welcome was lost), to tell of
its end (``replaces``, ``gone``), to speak for it (the request ``executor_held``). A process that a Spawn asked for says
Hello with the ``secret`` of that Spawn. Whoever can't prove a claim gets ``bye`` with code ``unauthorized``, and
nothing changes. The id of a link that is over is nobody's as long as the journal names bodies of it. A link without a
secret whose first Welcome is lost begins anew under another id.

**Roles.** A token is an ``executor``'s, a ``client``'s, an ``observer``'s, or several of these. Only executors
announce, hold channels, tell of the end of links, and send ``batch``, chunks, ``whole``, ``discard``, ``stalled`` and
``gone``; from others these end the connection (``unauthorized``). What a token may ask for stands with the requests; a
question beyond it is answered with an error. Clients and observers read and fetch everything, executors what belongs to
sessions whose open jobs their link holds.

**Which block.** A block belongs to a *package*, a directory; the package has a name and a *hash*, which stands for its
code. A plan and a dispatch name a block by ``language``, ``package``, ``hash``, ``entry`` (its file, from the package's
root) and ``function``; a job goes to an executor that announces the language and the hash. How this package makes
hashes is in ``docs/which-code-runs.md``, but they are compared and nothing else: a peer may make them in its own way if
it makes the plans too, or announce those that ``asyncblock check FLOW --plan`` shows, in ``blocks`` and in each
``block``. The hash is the package's, the same for its blocks of all languages: after an edit of any of its code a peer
announces anew. In a flow a block of another
language is one whose manifest says ``executor: {name: nodejs, options: {entry: main.js}}``; ``function`` is ``main``
unless the options say otherwise, and the options travel as ``options``. ``asyncblock check FLOW --language nodejs``
takes it, and ``submit`` does when an executor has announced the language. A block takes one of ``slots.sync`` where its
``sync`` is true (Python's blocks that are no coroutines), one of ``spawn`` where its ``spawn`` is, and otherwise one of
``async``. A job that another one has asked for by ``run_block`` takes none.

**What a block needs.** A block's ``needs`` say amounts by name (``memory`` in bytes, ``gpu``, any other) and
``labels``. Such a job goes to an executor whose announcement ``offers`` as much, has all of the ``labels``, and has as
much free: a job holds its part until its attempt has ended. A job that another one has asked for, and that runs beside
it, takes of each only what goes beyond that one's own. Executors that announce the same ``pool``, at least 16
characters that nobody can guess, have what they offer together. Of the jobs that wait for their part, the one that has
waited longest is next.

**Announcements** are ``{"languages": [name, ...], "packages": {hash: name}, "slots": {"async": n, "sync": n, "spawn":
n}}``. ``sync`` is as many as ``async`` where it is missing, ``spawn`` 0. Numbers are whole, from 0 to 1,000,000; up to
100 languages and 10,000 packages. A wrong field is unreadable, and the goodbye names it.

**Up: records.** What blocks say are records (``records``), objects with a ``type`` and ``t``, the author's time in
ms. They travel in batches: ``{"op": "batch", "seq": 17, "channels": [3, 4, 3]}`` and then one line for each run, a
JSON array of records of that channel. ``seq`` counts a link's batches from 1. The sender keeps a batch until it is
acknowledged and after a Welcome sends everything above ``stored`` again, byte for byte and in order, before anything
new; above drops what it has seen.
``{"op": "ack", "seq": n}`` is cumulative and means: *in the journal*. A ``ping`` repeats the mark, so that a lost
acknowledgement heals itself.

``BlockCache`` tells what the executor's cache of results had for a job: ``state`` is ``hit`` (what follows was put out
by an earlier job, at ``made_at``), ``miss``, ``kept`` or ``not kept``, ``why`` says it in words. A Welcome names it in
``understands``; to a mainframe that doesn't, it isn't sent.

``BlockFinished`` may have a ``result``, outputs by handle that are put out with it (``bodies`` for large ones), an
``error``, which fails the attempt, with ``error_type`` (the class, which ``retries.not_retried`` names) and
``traceback``, text for people, or ``cancelled: true``. A ``BlockError`` is only shown: it fails nothing.

**Channels.** A small integer, given with the dispatch, stands for one attempt of one job on this link; it is never
used again on it. The first record of an attempt is ``JobStarted``, sent before the author's code runs; the last is
``BlockFinished``. A job's records are counted from 0; that count is their index.

**Down: commands.** ``dispatch``, ``cancel``, ``close`` and ``session_ended`` are keyed by (job, attempt) and change
nothing when they come twice. They have no acknowledgement: after every Welcome the mainframe derives them again from
what the Hello says is there. ``close`` means that the attempt isn't counted as open: stop it, send nothing for it.
After ``cancel`` the executor tells the author's code, and ends the attempt by ``BlockFinished {"cancelled": true}``
when that has ended, or when ``grace`` seconds are over, whether it has ended or not. Until then the attempt is open as
before: what was on its way and what its clean-up says, outputs too, is taken, journaled and shown, and goes to whoever
still takes it; it may ask, and has its windows. How it ends is what its ``BlockFinished`` says: without ``cancelled``
and ``error`` the job has succeeded all the same, and its outputs count where the flow goes on. A cancel may come more
than once, and before its dispatch; one for an attempt that isn't open is skipped. An attempt that doesn't end is closed
5 seconds after ``grace``. What comes of an attempt that was closed is journaled with ``late`` and counts for nothing;
once its session is over it is refused.
``service_message`` is something that a client says to a service that runs in an executor; it is sent once, to those
that have run jobs of the session, and isn't kept.

**Processes of their own.** A block with ``spawn: true`` gets a process for each job. ``spawn {link, job_id, secret}``
asks an executor with free ``spawn`` slots for one; the process is a link of its own with that id and secret, announces
``once: true``, is dispatched that job alone and leaves. ``unspawn`` ends it when its job is over and it hasn't left;
``gone {link, reason, secret}`` upwards is the evidence that it has ended.

**Two kinds of wrong.** *Unreadable* (not JSON, a missing field, a gap in ``seq``, a wrong sum): ``bye`` with ``stop:
true``; the link is over and its jobs end with that reason. An attempt whose own batch ended its link counts, also when
nothing of it was journaled. *Refused* (an unknown type, a wrong field, an unknown channel, a record out of place): the
batch is journaled and acknowledged, the record isn't applied, and ``refused {channel, index, reason}`` goes back; the
next call of that job raises it. So nothing bad is sent for ever. The refusals of a batch come before the
acknowledgement that covers it, and once: with the connection they may be lost, but the journal has them. 16 of a batch
are told one by one, in its order; of the rest each channel's are told as one, whose ``index`` and ``reason`` are those
of the first, and whose ``count`` says how many there are, which needn't follow one another. A refused record has its
index like others, the attempt goes on, and its other records count. Out of place are records before ``JobStarted``, a
second one of that, and whatever comes after ``BlockFinished``. Refused, too, is a record whose JSON the grammar allows
and readers don't take, or take differently: half a surrogate pair, a number beyond doubles, an integer beyond 64 bits,
more than 200 levels, a key twice in an object; the journal has the first 16 KiB of it as a text in its place. A request
whose JSON is like that, or whose parameters are of other types, is answered with the error ``params``. An output on a
handle that the block doesn't declare is journaled and shown, and reaches nobody.

**Windows.** All on the sender's side, in bytes of encoded records (the JSON of each, without what is between them): 2
MiB of data and 256 KiB of telemetry a job, 64 MiB of both a link (``windows``). Which of the two a record is stands in
the table of records. One is *in flight* from when its sender takes it from the block, or without a queue of its own
from when it sends it, until the batch that has it is acknowledged; sent again, it is still the same one. A window in
which nothing is in flight takes one record of any size. ``JobStarted``, ``BlockFinished``, control and the chunks of
bodies need no room: of bodies ``bodies`` and ``unnamed_bytes`` are the limits. A Welcome names the windows of this
mainframe, and a sender keeps to them for its own sake: nothing is refused for being beyond them. The receiver reads on,
and slower while its disk is behind, all of the connection, cancels' answers and heartbeats included: what waits there
is bounded too.

**Limits.** A Welcome names them all in ``limits``: the table is in the reference. Values that are small one by one and
together more than ``inline`` travel as bodies, upwards in one record and downwards in one dispatch, where the mainframe
makes the bodies. Bodies are numbered from 1 to 2^53 - 1. What breaks a limit is unreadable; what a caller can mend (a
plan, a request) is refused to it, and what is only said again (reasons) is cut. Of a connection ``reads`` reads wait
for an answer at once, and as many fetches; more of them are refused. Of its requests ``questions`` ask the disk at
once; more of them wait. A peer keeps its surplus. Whoever asks has to listen: while ``unread_bytes`` of answers, and of
requests that wait, wait for a connection's socket, nothing is read from it.

**Ids.** Of links: 1 to 100 letters, digits, ``-`` and ``_``, a letter or digit first, and not ``mainframe-`` first. Of
sessions: 1 to 64 letters and digits. Of requests and ``boot``: up to 1000 characters. Of nodes: 1 to 200 characters. A
job's id is the mainframe's and opaque, but for that of ``run_block``. Letters and digits are those of ASCII for links,
and should be for all. Random ones need 64 bits at least, secrets 128.

**Order.** Control first, always. Then jobs take turns by bytes (``scheduler``). Within a job data comes before
telemetry, each in the order of the calls; progress, and previews with the same id, are latest-wins slots; the finish
comes last.

**Bodies.** A value of more than 64 KiB goes ahead of its record in binary chunks, which may be sent while the rest of
it is still being made: a byte 0x01, the body's number on this link and the offset (64 bits each, big-endian), then at
most 64 KiB. After the last one ``whole {n, length, sha256}`` asks the mainframe to check the body and to put it on its
disk, and ``kept {n}`` says that it has; the job's records wait for that, and those of other jobs pass. Then comes the
record that names it: ``{"n", "length", "sha256", "encoding": "json" | "raw"}`` in ``body`` in place of the value, or in
``bodies`` by handle. Beside a preview's, ``about`` says in an object what it is, for those who list previews: ``type``,
``size`` in bytes, and as far as they are known ``title``, ``note``, ``mime_type``, ``needs``, ``rows``, ``columns``,
``pixels`` (width, height) and ``count``. Beside the preview of a table that is shown in part its rows may travel, in
pages: ``bodies`` has a body ``pages``, whose JSON is an array of pages, each of them an array of rows like those of the
payload, and ``pages`` says in an object how many ``rows`` these are (the first ones), in ``index`` for each page its
``[first row, offset, size]``, and in a ``note`` what was cut. The bytes from that offset on are the page's JSON, to be
fetched by themselves. The rows of the tables in a group are in one such body: then ``pages`` has no rows of its own,
and in ``tables`` such an object for each table, with the place ``at`` which it is: its number in the group's
``data``, and where that is a group, its number there. A record may come without that question; then the link's later
messages wait while the mainframe checks. The sender keeps a body until its record is acknowledged. ``discard
{bodies}`` says that no record will name these (their calls were cancelled, say), and the mainframe deletes what it
has; so does a sender with the numbers in a Welcome that it doesn't know. A Welcome names the two in ``understands``;
to a mainframe that doesn't, neither is sent.
Bytes on a handle whose ``contentMediaType`` is ``oomol/bin`` always travel as a body with ``encoding: raw``, however
few they are. A body for which ``kept`` came needs neither chunks nor ``whole`` again.
A body of ``json`` is one JSON value as a whole: a reader may simply parse it, and a sender send it without line breaks.
Its line breaks,
the only white space in it, let a reader parse it a line at a time, without holding up what else its process does. A
``,`` at the beginning of a line is left out; then a line is ``[`` or ``{`` (opens a container, to be put where the
next value goes), ``]`` or ``}`` (closes it), a key with its ``:`` (the value is on the lines that follow), or, in an
array, items (JSON once they stand in brackets), in an object, members (in braces), and at the top or after a key, one
value. A line has about 64 KiB; a longer one is one text. Without line breaks it is one line, and read as a whole.
After a Welcome the sender goes on with each body that isn't kept at the offset that ``bodies`` says, 0 without one, and
says ``whole`` again. Downwards a body is asked for with ``fetch`` and comes as chunks numbered by the request, then
``fetched``; a fetch ends with its connection, and is asked again from where it came to. Its ``size`` may be all of the
body; the offsets of its chunks are places in the body.

**Values that stay.** A var handle's value stays in its executor's process. In its place travels an object: ``executor``
(``"asyncblock"``), ``handle``, ``job_id``, ``session_id``, and ``attempt`` and ``place``, which is the number of var
values that this attempt has put out before, whatever their handles, or handed to blocks that it runs. So each output is
a value of its own. Peers that have no ``attempt`` and no ``place`` in it mean the handle's last value. ``cache`` beside
them is the name of a file that the value is kept in beyond its process. ``portable`` says about how many bytes another
process of the host would get of it, ``stays`` in words why it can have none, ``file`` names the file (as ``exported``
does) that it is in from the start. A plan's ``group`` names jobs that such
values join: they run where their values are, or, when all of these are portable, where that comes soonest on the same
host; a node that doesn't say ``roams`` shares its group's executor until its values have proved portable.
An executor that announces ``host``, at least 16 characters that others can only know if they can open the same files of
its user, is asked to ``export {session_id, job_id, attempt, place}`` a portable value for another executor of the same
``host``. It writes a file, once, and says so by the request ``exported``: these four, and ``file``, its name (1 to 200
letters, digits, ``.``, ``_``, ``-``), with a ``note`` for people, or ``error`` when the value stays. It may say that
unasked, of a value that it has put on its disk. The other one's ``dispatch`` names the file in ``files`` by handle. An
executor that announces ``disk``, a secret like ``host`` of those who can open the same files on a disk, may say
``lasting: true`` with a file there, also of a value for which it has named one in memory: that can be had by whoever
announces the same ``disk``, when its executor has left, too. One that announces null for ``executor`` and stays
connected is leaving: jobs that need its values, and can't have them elsewhere, wait until it has told of each such
file, by ``error`` of the others why there is none, or has gone. The answer ``lives: false`` says that nobody asks for
the value any more; then the file can go. ``release`` and ``session_ended`` are told, too, to executors that can open
files which others have left. A file is there until its value is released, or the session has ended, also when its
process isn't any more. How it is written is the affair of the executors of one ``host``.
One that names ``carry`` in its announcement, under ``understands``, sends such files to executors that can't open them,
and takes them from there. ``carry {session_id, job_id, attempt, place, most}`` asks for one that it has put out, or,
with ``file``, that it can open: it sends the bytes as a body of ``encoding: raw``, one such body at a time, and when
``kept`` has come, the request ``carried`` names it: these four, and ``body``, or ``error`` when there is none, as for a
file of more than ``most`` bytes. From another than who has put the value out it counts for nothing unless that was
asked. The answer ``unkept`` is a mainframe's that has begun anew: it has sent another
Welcome, so ``whole`` was said again, and after the ``kept`` to that it is to be asked again. A body that no answer has
come for, and that may be too long for another link (``value``), goes up to ``carried_bytes``. The other one's
``dispatch`` has it in ``carried`` by handle, perhaps beside a file, which comes first as long as it can be opened.
Whoever fetches it may put it into a file and tell of that by ``exported``, for others of its ``host``; it is told by
``release`` and ``live`` when that can go, as of values of its own.
Values are let go when no job can ask for them any more. An executor that names ``release`` and ``live`` in its
announcement, under ``understands``, is told: ``release {session_id, values}`` says which can go, and after each Welcome
``live`` what lives of those that were seen of each attempt, for a release may have been lost; those that weren't seen
are on their way. Others keep all until ``session_ended``.

**Metadata.** A ``start`` may bring ``metadata``, at most 16 KiB: texts, numbers, booleans and null by name, said of the
session by whoever starts it (who asked, a trace id). It stands in the session's first row, and each ``dispatch`` of the
session has it; one without has none.

**Questions.** ``request`` has an id of the asker's choice; the same id gets the same answer, so it is simply sent
again after a Welcome. ``read`` asks for rows of a session's journal from an offset and is answered by one ``page`` as
soon as there is something; a reader is a cursor (session, offset) and nothing is held for it. Offset -1 asks for the
last row, once the session has ended. A row has one or more lines of JSON: records of an attempt, under ``records`` and
with who said them, or something that the mainframe notes, by its ``type``. A reference of a body in a record has no
``link``: it is that of the line, and ``fetch`` needs it; in lines of the mainframe's own it has one. ``n`` and the
place in ``records`` give a record's index. A value in such a line may be a reference: ``["input", HANDLE]`` is an input
of the flow, ``["record", OFFSET, LINE, PLACE, HANDLE]`` the value in that record of that line of that row. Of the lines
only ``SessionFinished`` is the end: after ``RunFinished`` jobs may still clean up.

A running job asks by ``request`` too, with ``session_id``, ``job_id`` and ``attempt`` among its parameters; only the
link that holds the open attempt may. ``run_block`` names a block and the id of the job that it shall be, which is the
caller's id, its attempt and a name without dots, joined by dots, and carries ``inputs``; larger ones go ahead in a
``BlockArguments`` record with that id. The answer is the offset from which on the session's journal tells of the job;
``BlockJobFinished`` or ``FlowJobFinished`` is its end. ``cancel_block``, ``query_block``, ``query_downstream`` and
``update_node_weight`` are the others. ``give_back`` returns a job that hasn't begun, with a ``reason``: its code
was edited since the executor announced it, or, with ``full``, jobs of other partitions have all of its slots.

**Life.** Both sides send ``ping`` each ``heartbeat`` seconds, executors with the bytes of values that stay there and
how many may be; any byte is a sign of life; three heartbeats of silence end the connection. ``bye`` with ``stop:
false`` asks to come back after ``retry_after`` seconds. After a loss the link connects again for ever, each time after
a random part of a pause that is 0.1 s at first and doubles up to 20 s.

**Several mainframes.** Of a set one mainframe serves, and the others stand by. One that stands by answers the upgrade
with HTTP 503 and says in the header ``Asyncblock-Owner`` where the owner is, if it knows. ``addresses`` in a Welcome
and in each ``ping`` from above name the owner and those that would take over: after a loss whoever connects tries them,
too. A token isn't sent to an address of ``ws://`` that was heard of over ``wss://``, nor to a loopback address that was
heard of from another machine.

**Partitions.** A set may have several, each with a journal and an owner of its own; a member may own some of them.
``partitions`` in a Welcome says how many. A connection is to the partition that the header ``Asyncblock-Partition`` of
the websocket's request names, from 0; without it, to 0. A session is in the partition that is the CRC-32 of its id
(that of zlib, of its UTF-8) modulo their number, and all that is asked about it is asked there; a ``start`` elsewhere
is refused (``partition``). Whoever is to see all of a set has a link to each partition: to partition 0 first, whose
Welcome says how many there are. What isn't about one session is asked of each of them: each knows, lists and deletes
its own sessions alone. To list the newest of all, ask each for so many, and sort what comes by ``created_at``, then id.

**Slots of several partitions.** An executor tells each partition of all its slots, and what comes beyond them it gives
back with ``full: true``. After that the partition hands out to it only what it offers by ``free``, so many ``slots`` of
a ``kind``, until it has less to do than that, or an offer without ``slots``, or another Hello. The answer names the
jobs that were handed out for the offer: for those the slots are kept, and the rest may be offered to others. Blocks
that other jobs have asked for have no slots and are never given back for want of one.

**Versions.** A version that can't be served gets a ``bye`` with code ``version``. Fields are added, never given
another meaning; record types are added, never changed; golden frames under ``tests/wire`` hold both.
"""
