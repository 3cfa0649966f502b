"""The Lua scripts of a log in Redis. Each is one atomic step.

They are no functions of the engine: those have names, so two versions of a broker would replace each other's. `redis.`
is the prefix that Redis and Valkey both know.
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple


class Script(NamedTuple):
    """A script, and the name by which the engine caches it."""

    text: bytes
    sha1: bytes


def _script(*parts: str) -> Script:
    text = "\n".join(parts).encode()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest().encode())


_TIP = """
local function base_of(meta)
  local base = redis.call('HMGET', meta, 'base_position', 'base_id', 'loading')
  return tonumber(base[1]), base[2], base[3]
end
local function tip_of(log, bpos, bid)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if last[1] then return tonumber(string.match(last[1][1], '^%d+')), last[1][2][2] end
  return bpos, bid
end
local function id_at(log, position)
  local id = string.format('%.0f-0', position)
  local found = redis.call('XRANGE', log, id, id)
  return found[1] and found[1][2][2]
end
"""

_AFTER = """
local function after(log, texts, position, limit)
  local found, split = redis.call('XRANGE', log, string.format('(%.0f-0', position), '+', 'COUNT', limit), {}
  for _, entry in ipairs(found) do
    if entry[2][5] then split[#split + 1] = string.match(entry[1], '^%d+') end
  end
  return found, #split > 0 and redis.call('HMGET', texts, unpack(split)) or {}
end
"""

_GIVE = """
local function give(pen, turn, number)
  if redis.call('GET', turn) == number then redis.call('RPUSH', pen, redis.call('INCR', turn)) end
end
"""

_STORE = """
local function store(log, texts, pos, from, n)
  for k = 1, n do
    local at, line, missing = string.format('%.0f', pos + k), ARGV[from + 1], ARGV[from + 2]
    if missing == '' then redis.call('XADD', log, at .. '-0', 'i', ARGV[from], 'c', line)
    else
      redis.call('XADD', log, at .. '-0', 'i', ARGV[from], 'c', line, 't', '')
      redis.call('HSET', texts, at, missing)
    end
    from = from + 3
  end
end
"""

APPEND = _script(
    _TIP,
    _AFTER,
    _GIVE,
    _STORE,
    """
-- KEYS log texts meta pen turn; ARGV expected position, expected id, turn or '', limit of missed commits, count,
-- then for each commit: id, line, missing or ''
-- {1} stored; {3} stored without a turn while another broker has one; {2, tip} had landed;
-- {0, base, missed, texts} conflict; {-1, tip} rolled back; {-2} it is being loaded;
-- {-3} it is gone
local log, texts = KEYS[1], KEYS[2]
local bpos, bid, is_loading = base_of(KEYS[3])
if not bpos then return {-3} end
if is_loading then return {-2} end
local pos, id, n = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[5])
local top, tid = tip_of(log, bpos, bid)
if ARGV[3] ~= '' then give(KEYS[4], KEYS[5], ARGV[3]) end
if top == pos and tid == id then
  store(log, texts, pos, 6, n)
  return {(ARGV[3] == '' and redis.call('LLEN', KEYS[4]) == 0) and 3 or 1}
end
local function stands(position, commit_id)
  if position == bpos then return commit_id == bid end
  return id_at(log, position) == commit_id
end
local landed = n > 0 and pos >= bpos
for k = 1, n do landed = landed and stands(pos + k, ARGV[3 + 3 * k]) end
if landed then return {2, top, tid} end
if pos > top or (pos >= bpos and not stands(pos, id)) then return {-1, top, tid} end
if pos < bpos then return {0, {bpos, bid}, {}, {}} end
local missed, missing = after(log, texts, pos, ARGV[4])
return {0, {bpos, bid}, missed, missing}
""",
)

READ = _script(
    _TIP,
    _AFTER,
    """
-- KEYS log texts meta; ARGV position, limit; {base position, base id, entries, texts}
local bpos, bid = base_of(KEYS[3])
if not bpos then return {-3} end
local found, missing = after(KEYS[1], KEYS[2], math.max(tonumber(ARGV[1]), bpos), ARGV[2])
return {bpos, bid, found, missing}
""",
)

TIP = _script(
    _TIP,
    """
-- KEYS log meta; {base position, base id, position, id}
local bpos, bid = base_of(KEYS[2])
if not bpos then return {-3} end
return {bpos, bid, tip_of(KEYS[1], bpos, bid)}
""",
)

GIVE_TURN = _script(
    _GIVE,
    """
-- KEYS pen turn; ARGV turn: pass it on, if it was not taken away
give(KEYS[1], KEYS[2], ARGV[1])
""",
)

TAKE_TURN = _script(
    """
-- KEYS pen turn; ARGV the turn that was seen before the wait: take it away from its holder; nil if it moved meanwhile
if ARGV[1] ~= '' and redis.call('LLEN', KEYS[1]) == 0 and redis.call('GET', KEYS[2]) == ARGV[1] then
  return tostring(redis.call('INCR', KEYS[2]))
end
return false
"""
)

_MAKE = """
-- KEYS meta log texts snapshots pen turn deliveries session times operations refusals running
-- Without meta, any of these keys is another program's.
local function foreign()
  local kinds = {'hash', 'stream', 'hash', 'zset', 'list', 'string', 'stream', 'zset', 'stream', 'stream', 'hash'}
  for k, kind in ipairs(kinds) do
    local found = redis.call('TYPE', KEYS[k]).ok
    if found ~= 'none' and (found ~= kind or redis.call('EXISTS', KEYS[1]) == 0) then return KEYS[k] end
  end
end
local function make(form, epoch, secret)
  redis.call('HSET', KEYS[1], 'format', form, 'epoch', epoch, 'secret', secret, 'base_position', 0, 'base_id', '',
    'redacted_to', 0)
  redis.call('SET', KEYS[6], 1)
  redis.call('RPUSH', KEYS[5], 1)
end
local function remove()
  for _, group in ipairs({KEYS[4], KEYS[8]}) do
    for _, key in ipairs(redis.call('ZRANGE', group, 0, -1)) do redis.call('UNLINK', key) end
  end
  redis.call('UNLINK', unpack(KEYS))
end
"""

CREATE = _script(
    _MAKE,
    """
-- ARGV format, epoch, secret; the fields of meta, or the name of a key that is no log's
local other = foreign()
if other then return other end
if redis.call('EXISTS', KEYS[1]) == 0 then make(ARGV[1], ARGV[2], ARGV[3]) end
return redis.call('HGETALL', KEYS[1])
""",
)

BEGIN_LOADING = _script(
    _MAKE,
    """
-- ARGV format, epoch, secret, the load's token; 1, or 0 for a log that is not empty, or the name of a key of others
local other, meta = foreign(), KEYS[1]
if other then return other end
if redis.call('EXISTS', meta) == 1 and redis.call('HEXISTS', meta, 'loading') == 0 then
  if redis.call('XLEN', KEYS[2]) > 0 or redis.call('HGET', meta, 'base_position') ~= '0' then return 0 end
end
remove()
make(ARGV[1], ARGV[2], ARGV[3])
redis.call('HSET', meta, 'loading', ARGV[4])
return 1
""",
)

LOAD = _script(
    _TIP,
    _STORE,
    """
-- KEYS log texts meta; ARGV token, expected position, expected id, count, then as for APPEND
-- 1 done; 0 conflict; -1 another load has begun
if redis.call('HGET', KEYS[3], 'loading') ~= ARGV[1] then return -1 end
local pos = tonumber(ARGV[2])
local top, tid = tip_of(KEYS[1], base_of(KEYS[3]))
if top ~= pos or tid ~= ARGV[3] then return 0 end
store(KEYS[1], KEYS[2], pos, 5, tonumber(ARGV[4]))
return 1
""",
)

FINISH_LOADING = _script(
    _TIP,
    """
-- KEYS meta log; ARGV token; 1 done; -1 another load has begun
if redis.call('HGET', KEYS[1], 'loading') ~= ARGV[1] then return -1 end
local top = tip_of(KEYS[2], base_of(KEYS[1]))
redis.call('HSET', KEYS[1], 'handings_after', string.format('%.0f', top))
redis.call('HDEL', KEYS[1], 'loading')
return 1
""",
)

ABANDON_LOADING = _script(
    _MAKE,
    """
-- ARGV token
if redis.call('HGET', KEYS[1], 'loading') == ARGV[1] then remove() end
""",
)

FINISH_SNAPSHOT = _script(
    _TIP,
    """
-- KEYS log meta snapshots snapshot; ARGV position, id, is it the base?, how many are kept
-- 1 done; 0 of no use; -1 of no commit of this log
local log, meta, snapshots, new = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pos, id, is_base = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local bpos, bid = base_of(meta)
local function drop(keys)
  for _, key in ipairs(keys) do redis.call('ZREM', snapshots, key); redis.call('UNLINK', key) end
end
if not bpos then drop({new}); return -1 end
local from = tonumber(redis.call('HGET', meta, 'snapshots_from') or '0')
if pos <= bpos or (not is_base and pos < from) then drop({new}); return 0 end
if id_at(log, pos) ~= id then
  -- A log that is being loaded begins at its base.
  local is_loading = redis.call('HEXISTS', meta, 'loading') == 1
  local is_first = is_loading and is_base and bpos == 0 and redis.call('XLEN', log) == 0
  if not is_first then drop({new}); return -1 end
end
redis.call('PERSIST', new)
redis.call('ZADD', snapshots, pos, new)
if is_base then
  redis.call('HSET', meta, 'base_position', ARGV[1], 'base_id', id)
  drop(redis.call('ZRANGEBYSCORE', snapshots, '-inf', '(' .. ARGV[1]))
  bpos = pos
end
local kept = redis.call('ZREVRANGEBYSCORE', snapshots, '+inf', string.format('(%.0f', bpos))
if #kept >= tonumber(ARGV[4]) then
  for k = 2, #kept, 2 do drop({kept[k]}) end
end
return 1
""",
)

TRIM = _script(
    _TIP,
    """
-- KEYS log texts meta; ARGV limit: forget the oldest trimmed commits; 1 if some are left
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local bpos = base_of(KEYS[3])
if not first[1] or not bpos then return 0 end
local from = tonumber(string.match(first[1][1], '^%d+'))
local to = math.min(bpos, from + tonumber(ARGV[1]) - 1)
if to < from then return 0 end
local gone = {}
for position = from, to do gone[#gone + 1] = string.format('%.0f', position) end
redis.call('HDEL', KEYS[2], unpack(gone))
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', to + 1))
return to < bpos and 1 or 0
""",
)

REDACT = _script(
    """
-- KEYS texts meta snapshots; ARGV done to, snapshots from, then positions; {the new redacted_to}, {-3} gone
if redis.call('EXISTS', KEYS[2]) == 0 then return {-3} end
local function highest(field, value)
  local new = math.max(tonumber(value), tonumber(redis.call('HGET', KEYS[2], field) or '0'))
  redis.call('HSET', KEYS[2], field, string.format('%.0f', new))
  return new
end
for k = 3, #ARGV, 1000 do redis.call('HDEL', KEYS[1], unpack(ARGV, k, math.min(k + 999, #ARGV))) end
if ARGV[2] ~= '0' then
  local from = highest('snapshots_from', ARGV[2])
  local base = redis.call('HGET', KEYS[2], 'base_position')
  for _, range in ipairs({{'-inf', '(' .. base}, {'(' .. base, string.format('(%.0f', from)}}) do
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], range[1], range[2])) do
      redis.call('ZREM', KEYS[3], key)
      redis.call('UNLINK', key)
    end
  end
end
return {string.format('%.0f', highest('redacted_to', ARGV[1]))}
"""
)

RECORD = _script(
    """
-- KEYS records meta; ARGV how many are kept, count, highest position, records as JSON
-- An entry's number is that of its last record; m is the highest position in it or before.
if redis.call('EXISTS', KEYS[2]) == 0 then return end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local number, highest = 0, tonumber(ARGV[3])
if last then number, highest = tonumber(string.match(last[1], '^%d+')), math.max(highest, tonumber(last[2][2])) end
number = number + tonumber(ARGV[2])
local from = string.format('%.0f-0', math.max(0, number - tonumber(ARGV[1])))
redis.call('XADD', KEYS[1], 'MINID', '~', from, string.format('%.0f-0', number), 'm', string.format('%.0f', highest),
  'r', ARGV[4])
"""
)

RUN = _script(
    """
-- KEYS running meta; ARGV brokers kept, then a broker and its newest sign of life as JSON; beyond the limit all go
if redis.call('EXISTS', KEYS[2]) == 0 then return end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
"""
)

KEEP_RECORD = _script(
    """
-- KEYS record times meta; ARGV until, number of changes, then name and value of each, then names to remove
if redis.call('EXISTS', KEYS[3]) == 0 then return end
local fields = 3 + 2 * tonumber(ARGV[2])
if fields > 3 then redis.call('HSET', KEYS[1], unpack(ARGV, 3, fields - 1)) end
if fields <= #ARGV then redis.call('HDEL', KEYS[1], unpack(ARGV, fields)) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], KEYS[1])
else redis.call('ZADD', KEYS[2], 'GT', ARGV[1], KEYS[1]) end
"""
)

EXPIRE_RECORDS = _script(
    """
-- KEYS times; ARGV now, limit: forget the records whose time is over; how many there were
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #over > 0 then
  redis.call('UNLINK', unpack(over))
  redis.call('ZREM', KEYS[1], unpack(over))
end
return #over
"""
)

PROBE = _script(
    """
-- KEYS meta; write a field that means nothing; {1}, or {-3} gone
if redis.call('EXISTS', KEYS[1]) == 0 then return {-3} end
redis.call('HSET', KEYS[1], 'probe', '')
return {1}
"""
)

RENEW_EPOCH = _script(
    """
-- KEYS meta; ARGV the epoch so far, the new one
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('HSET', KEYS[1], 'epoch', ARGV[2]) end
"""
)
