/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into the loadable driver only: EAL's -d option opens it, and a driver
 * that is opened registers itself.  A program that links the driver calls
 * net_eswitch::register().
 */
void net_eswitch_loaded(void);

__attribute__((constructor)) static void loaded(void)
{
	net_eswitch_loaded();
}
