import type { lookup as lookupHost } from "node:dns";
import { BlockList, isIP, isIPv4, type LookupFunction } from "node:net";

/**
 * Addresses that are not on the public internet. Of IPv6 only 2000::/3 is, and not all of it: everything else is local,
 * reserved, or an IPv4 address in another form (mapped, NAT64), which would lead around the list above.
 * @source IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), RFC 4291 §2.4
 */
const PRIVATE = {
  // Two lists: one would take every IPv4 address for its mapped IPv6 form.
  ipv4: toList("ipv4", [
    ["0.0.0.0", 8],
    ["10.0.0.0", 8],
    ["100.64.0.0", 10],
    ["127.0.0.0", 8],
    ["169.254.0.0", 16],
    ["172.16.0.0", 12],
    ["192.0.0.0", 24],
    ["192.0.2.0", 24],
    ["192.168.0.0", 16],
    ["198.18.0.0", 15],
    ["198.51.100.0", 24],
    ["203.0.113.0", 24],
    ["224.0.0.0", 3],
  ]),
  ipv6: toList("ipv6", [
    ["::", 3],
    ["2001::", 23],
    ["2001:db8::", 32],
    ["2002::", 16],
    ["3fff::", 20],
    ["4000::", 2],
    ["8000::", 1],
  ]),
};

function toList(family: "ipv4" | "ipv6", subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of subnets) list.addSubnet(network, prefix, family);
  return list;
}

/** Whether an address may be called on somebody else's behalf. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0 || address.includes("%")) return false;
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  return !PRIVATE[family].check(address, family);
}

/**
 * Whether a host of a URL may be called as far as its own words tell: an address that is written out is not looked up, so
 * nobody would look at it later.
 */
export function mayBePublic(hostname: string, isPublic: (address: string) => boolean = isPublicAddress): boolean {
  const literal = hostname.replace(/^\[|\]$/g, "");
  return isIP(literal) === 0 || isPublic(literal);
}

/** The code of the error for a name that leads to no public address. */
export const NOT_PUBLIC = "ENOTPUBLIC";

/**
 * Looks a host up for a connection and gives the public ones of its addresses alone, so that what was checked is what is
 * connected to: a name that leads elsewhere a moment later changes nothing.
 */
export function onlyPublic(
  lookup: typeof lookupHost,
  isPublic: (address: string) => boolean = isPublicAddress,
): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      const good = addresses?.filter(({ address }) => isPublic(address)) ?? [];
      const [first] = good;
      if (error || !first) {
        callback(error ?? Object.assign(new Error("not a public address"), { code: NOT_PUBLIC }), "", 4);
      } else if (options.all) {
        callback(null, good);
      } else {
        callback(null, first.address, first.family);
      }
    });
  };
}
