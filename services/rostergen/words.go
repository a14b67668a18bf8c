package rostergen

import "strings"

var givenNames = words(`Aaliyah Aaron Abigail Adam Adrian Aisha Alana Alejandro Alex Amara Amelia Amir Ana
André Angela Anika Anthony Aria Ariel Asher Ava Beatriz Benjamin Bianca Brandon Brianna Caleb Camila Carlos
Carmen Chloe Christian Claire Daniel Daria David Deja Diego Dmitri Dominic Elena Eli Elijah Elise Emilia Emma
Ethan Eva Ezra Fatima Felix Fiona Gabriel Grace Hana Hannah Harper Hassan Henry Ian Imani Isaac Isabel Ivy Jack
Jada Jamal James Jasmine Jayden José Julia Kai Kamal Kayla Keisha Kevin Kiara Lan Laura Layla Leah Leila Leo
Liam Lila Lina Logan Lucas Lucía Luna Malik Mara Marcus María Mateo Maya Mei Micah Miguel Mila Minh Nadia Naomi
Nathan Nia Nina Noah Noor Nora Oliver Omar Oscar Paige Parker Priya Quinn Rafael Rania Ravi Renée Riley Rohan
Rosa Ruby Ryan Sadie Sami Samuel Sana Santiago Sara Sasha Simon Sofía Sonia Stella Tariq Tess Theo Thomas Tomás
Tyler Uma Valeria Vera Victor Violet Wei William Xavier Yara Yusuf Zara Zoë`)

var familyNames = words(`Abbott Acosta Adeyemi Agarwal Ahmed Alvarez Anders Aquino Arroyo Baker Banerjee Barnes Bauer
Begay Bennett Bianchi Blackwood Bose Boyd Brennan Brooks Byrne Calderón Campos Carver Castillo Chandra Chavez
Chen Choi Clarke Coleman Cortez Crane Cruz D'Angelo Dalton Das Delgado Diaz Dixon Doyle Duarte Dunn Eaton
Ellison Espinoza Farouk Ferrara Figueroa Fischer Flores Fontaine Foster Franklin Fuentes Gallagher García Gibbs
Gomez Graham Greene Grover Gupta Haddad Hale Hansen Harlow Hayes Hernández Hoang Holt Huang Hughes Ibarra Ibrahim
Ingram Ito Jacobs Jensen Jimenez Joshi Kaplan Kaur Keller Khan Kim Kovac Kumar Lam Larsen Le Lindgren Lopez
Lowe Lynch Maddox Maldonado Mann Marsh Mbeki McBride Medina Mehta Mendoza Mercer Meyer Miranda Mora Morales
Nakamura Nash Navarro Nguyen Novak Núñez O'Brien Obi Ochoa Okafor Olsen Ortiz Osei Owens Pacheco Park Patel
Peña Pereira Petrov Pham Pierce Pineda Quintero Ramos Rashid Reyes Rhodes Rivera Rojas Romero Rossi Rowe Ruiz
Saito Salazar Santos Schmidt Serrano Shah Sharma Silva Singh Solis Soto Stein Suárez Sutton Takahashi Tanaka
Torres Tran Trujillo Ueda Valdez Vargas Vega Velasco Vo Vogel Walsh Wang Ward Weber Whitfield Wolfe Wu Yamada
Yang Yates Zamora Zhang Zimmerman`)

var streets = phrases(`Alder Street,Aspen Way,Bay Avenue,Birch Lane,Cedar Street,Cherry Court,Chestnut Street,
Clover Lane,Dogwood Drive,Elm Street,Fern Hill Road,Foxglove Lane,Garden Street,Harbor View Drive,Hazel Avenue,
Heron Way,Hillcrest Road,Juniper Court,Kestrel Drive,Laurel Street,Linden Avenue,Magnolia Drive,Maple Avenue,
Meadow Lane,Mill Road,Oak Street,Orchard Road,Pine Street,Poplar Street,Quarry Road,Ridge Road,River Road,
Rowan Street,Sage Court,Spruce Street,Summit Drive,Sycamore Street,Valley View Road,Walnut Street,Willow Lane`)

var cities = phrases(`Alderbrook,Birchhaven,Cedar Hollow,Dunmere,Eastfold,Fernley Park,Grayling,Harborfield,Inverbrook,
Larkspur Flats,Millrace,Northmoor,Oakhurst Bend,Pinecrest Point,Quillan,Rowanville,Stonebridge Mill,Thornbury`)

var districtNames = phrases(`Harborfield,Alderbrook,Cedar Hollow,Dunmere,Eastfold,Grayling,Inverbrook,Millrace,Northmoor,
Oakhurst Bend,Quillan,Rowanville,Stonebridge,Thornbury`)

var schoolNames = phrases(`Alder Creek,Aspen Grove,Bayview,Blue Heron,Bright Meadow,Canyon Ridge,Cedar Point,Clearwater,
Copper Hill,Cottonwood,Crescent Bay,Eagle Bluff,Fernwood,Fox Run,Glacier Peak,Golden Valley,Granite Falls,
Green River,Hawthorne,Hidden Lake,High Prairie,Iron Gate,Juniper Hills,Kingfisher,Lakeshore,Larch Mountain,
Madrona,Maple Glen,Meadowlark,Mill Pond,Mountain View,North Fork,Oak Hollow,Orchard Heights,Osprey,Pebble Brook,
Pine Bluff,Prairie Star,Quail Run,Red Cliff,River Bend,Rolling Hills,Sage Canyon,Salmon Run,Silver Birch,
Skyline,Stone Creek,Sunrise,Timber Ridge,Trillium,Twin Rivers,Valley Oak,West Fork,Whispering Pines,Wild Rose,
Willow Bend`)

// The part of an email address that a name gives: ASCII letters only.
var (
	givenMail  = mailNames(givenNames)
	familyMail = mailNames(familyNames)
)

func words(s string) []string { return strings.Fields(s) }

func phrases(s string) []string {
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func mailNames(names []string) []string {
	fold := strings.NewReplacer("á", "a", "é", "e", "ë", "e", "í", "i", "ñ", "n", "ó", "o", "ú", "u", "'", "")
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = fold.Replace(strings.ToLower(n))
	}
	return list
}
