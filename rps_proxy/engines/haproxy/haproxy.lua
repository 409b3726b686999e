-- Takes away the fields that a `Connection` field names, and what it says beside an upgrade (RFC 9110, 7.6.1).
-- HAProxy does so for its own connection alone, and passes the rest on. Run for such messages only.

-- Without these the message would mean another.
local KEPT = {
  ["host"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["set-cookie"] = true,
  ["upgrade"] = true,
}

local function take_away(fields, delete, set)
  local upgrade = false
  for _, value in pairs(fields["connection"] or {}) do
    for name in value:lower():gmatch("[^,%s]+") do
      upgrade = upgrade or name == "upgrade"
      -- Each but once, and none that is not there: a long list would cost a search of the head for each.
      if fields[name] and not KEPT[name] then
        delete(name)
        fields[name] = nil
      end
    end
  end
  -- HAProxy takes the field away where a body follows.
  if upgrade and fields["upgrade"] then set("Connection", "Upgrade") else delete("Connection") end
end

core.register_action("hop-by-hop", { "http-req" }, function(txn)
  local http = txn.http
  take_away(http:req_get_headers(), function(name) http:req_del_header(name) end,
    function(name, value) http:req_set_header(name, value) end)
end)

core.register_action("hop-by-hop", { "http-res" }, function(txn)
  local http = txn.http
  take_away(http:res_get_headers(), function(name) http:res_del_header(name) end,
    function(name, value) http:res_set_header(name, value) end)
end)
